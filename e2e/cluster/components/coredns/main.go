// CoreDNS with the plugins that cluster DNS needs, and no more. It is an executable of its own because its package
// claims flags of the whole process: linked into the others, it would answer their `-version`.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
