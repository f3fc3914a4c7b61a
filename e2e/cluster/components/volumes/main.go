// A provisioner that answers claims with directories of this machine. Every node sees the same directories, so a claim
// may follow its pods to any node, as a cloud's disks and file shares do. They are `local` volumes, not `hostPath`
// ones: only for the former does the kubelet give the files to a pod's fsGroup.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

const (
	provisioner = "teebench.dev/directory"
	// shared is the storage class's parameter that allows many nodes to write, as a file share does and a disk does not.
	shared = "shared"
	// retryAfter is how soon what failed is tried again: the informers then hand out every object anew.
	retryAfter = 5 * time.Second

	askedFor = "volume.kubernetes.io/storage-provisioner"
	madeBy   = "pv.kubernetes.io/provisioned-by"
)

type directories struct {
	client kubernetes.Interface
	events record.EventRecorder
	root   string
}

func (d *directories) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Status.Phase != core.ClaimPending || claim.Spec.VolumeName != "" || claim.Spec.StorageClassName == nil ||
		claim.Annotations[askedFor] != provisioner {
		return nil
	}
	class, err := d.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return err
	}
	mode := os.FileMode(0o755)
	if class.Parameters[shared] == "true" {
		mode = 0o777
	} else if !slices.Equal(claim.Spec.AccessModes, []core.PersistentVolumeAccessMode{core.ReadWriteOnce}) {
		return fmt.Errorf("access modes %v: storage class %q gives ReadWriteOnce alone", claim.Spec.AccessModes, class.Name)
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(d.root, name)
	owner := &core.ObjectReference{
		Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
	}
	size := core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]}
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chmod(path, mode); err != nil { // The process's umask has narrowed it.
		return err
	}
	_, err = d.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{madeBy: provisioner}},
		Spec: core.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      size,
			ClaimRef:                      owner,
			NodeAffinity:                  &core.VolumeNodeAffinity{Required: everyNode()},
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			StorageClassName:              class.Name,
		},
	}, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (d *directories) reclaim(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Status.Phase != core.VolumeReleased || volume.Annotations[madeBy] != provisioner ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(d.root, volume.Name)); err != nil {
		return err
	}
	err := d.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// everyNode matches all nodes: a local volume must name some.
func everyNode() *core.NodeSelector {
	return &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
		MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpExists}},
	}}}
}

// seen calls a handler for every object that is there, and again whenever one changes.
func seen[T any](handle func(*T)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { handle(object.(*T)) },
		UpdateFunc: func(_, object any) { handle(object.(*T)) },
	}
}

// run answers claims until the context ends.
func run(ctx context.Context, kubeconfig, root string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&corev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	d := &directories{
		client: client,
		events: broadcaster.NewRecorder(scheme.Scheme, core.EventSource{Component: provisioner}),
		root:   root,
	}
	factory := informers.NewSharedInformerFactory(client, retryAfter)
	_, err = factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(seen(func(claim *core.PersistentVolumeClaim) {
		if err := d.provision(ctx, claim); err != nil {
			log.Printf("claim %s/%s: %v", claim.Namespace, claim.Name, err)
			d.events.Event(claim, core.EventTypeWarning, "ProvisioningFailed", err.Error())
		}
	}))
	if err != nil {
		return err
	}
	_, err = factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(seen(func(volume *core.PersistentVolume) {
		if err := d.reclaim(ctx, volume); err != nil {
			log.Printf("volume %s: %v", volume.Name, err)
			d.events.Event(volume, core.EventTypeWarning, "VolumeFailedDelete", err.Error())
		}
	}))
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	return nil
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	root := flag.String("root", "", "directory that holds the volumes")
	flag.Parse()
	log.SetFlags(log.LstdFlags | log.LUTC)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *kubeconfig, *root); err != nil {
		log.Fatal(err)
	}
}
