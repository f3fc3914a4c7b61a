// A device plugin that offers GPUs which are not there, so that the scheduler counts `nvidia.com/gpu` and the kubelet
// hands out devices as on a machine that has them: each container learns its own by NVIDIA_VISIBLE_DEVICES.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	resource = "nvidia.com/gpu"
	socket   = "teebench-gpus.sock"
	// libraries is where NVIDIA's container images look for the driver's user-space half.
	libraries = "/usr/local/nvidia/lib64"
)

type gpus struct {
	plugin.UnimplementedDevicePluginServer
	ids    []string
	driver string
}

func (g *gpus) GetDevicePluginOptions(context.Context, *plugin.Empty) (*plugin.DevicePluginOptions, error) {
	return &plugin.DevicePluginOptions{}, nil
}

// ListAndWatch tells of all GPUs once: their health never changes.
func (g *gpus) ListAndWatch(_ *plugin.Empty, stream grpc.ServerStreamingServer[plugin.ListAndWatchResponse]) error {
	devices := make([]*plugin.Device, len(g.ids))
	for i, id := range g.ids {
		devices[i] = &plugin.Device{ID: id, Health: plugin.Healthy}
	}
	if err := stream.Send(&plugin.ListAndWatchResponse{Devices: devices}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (g *gpus) Allocate(_ context.Context, request *plugin.AllocateRequest) (*plugin.AllocateResponse, error) {
	response := &plugin.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		allocated := &plugin.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")},
		}
		if g.driver != "" {
			allocated.Mounts = []*plugin.Mount{{HostPath: g.driver, ContainerPath: libraries, ReadOnly: true}}
		}
		response.ContainerResponses = append(response.ContainerResponses, allocated)
	}
	return response, nil
}

// uuid gives the same GPU the same name at every start, in the form that the driver prints.
func uuid(node string, index int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s/%d", node, index))
	return fmt.Sprintf("GPU-%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func register(ctx context.Context) error {
	kubelet, err := grpc.NewClient("unix:"+plugin.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer kubelet.Close()
	_, err = plugin.NewRegistrationClient(kubelet).Register(ctx, &plugin.RegisterRequest{
		Version: plugin.Version, Endpoint: socket, ResourceName: resource,
	}, grpc.WaitForReady(true))
	return err
}

// run serves until the kubelet starts anew, which it shows by emptying the plugins' directory.
func run(node string, count int, driver string) error {
	path := filepath.Join(plugin.DevicePluginPath, socket)
	if err := os.MkdirAll(plugin.DevicePluginPath, 0o750); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	ids := make([]string, count)
	for i := range ids {
		ids[i] = uuid(node, i)
	}
	server := grpc.NewServer()
	plugin.RegisterDevicePluginServer(server, &gpus{ids: ids, driver: driver})
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	go func() {
		if err := register(context.Background()); err != nil {
			failed <- fmt.Errorf("register with the kubelet: %w", err)
		}
	}()
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case <-ticker.C:
			if _, err := os.Stat(path); os.IsNotExist(err) {
				return fmt.Errorf("the kubelet removed %s: it has started anew", path)
			}
		}
	}
}

func main() {
	node := flag.String("node", "", "name of the node, from which the GPUs' UUIDs follow")
	count := flag.Int("count", 8, "how many GPUs the node offers")
	driver := flag.String("driver", "", "directory of driver libraries, mounted at "+libraries+" where a GPU is given")
	flag.Parse()
	log.SetFlags(log.LstdFlags | log.LUTC)
	log.Fatal(run(*node, *count, *driver))
}
