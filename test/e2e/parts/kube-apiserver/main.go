// A throw-away Kubernetes control plane of one process: etcd, and the real kube-apiserver in front of it.
//
//	kube-apiserver <data folder> [flags of kube-apiserver...]
//
// It lives as long as its standard input stays open, so that no test run, however it dies, leaves one behind.
package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const etcdStart = 30 * time.Second

func main() {
	if len(os.Args) < 2 {
		fail("usage: kube-apiserver <data folder> [flags...]")
	}
	go leaveWithParent()
	endpoint, err := serveEtcd(os.Args[1])
	if err != nil {
		fail("etcd: " + err.Error())
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append(os.Args[2:], "--etcd-servers="+endpoint))
	os.Exit(cli.Run(command))
}

// serveEtcd starts etcd over the folder, on loopback ports that the kernel picks, and gives its client address.
func serveEtcd(folder string) (string, error) {
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.ListenPeerUrls, config.AdvertisePeerUrls = anyPort, anyPort
	config.ListenClientUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = true // a killed process loses nothing by it, only a machine would

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return "", err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return "http://" + etcd.Clients[0].Addr().String(), nil
	case err := <-etcd.Err():
		return "", err
	case <-time.After(etcdStart):
		return "", fmt.Errorf("not ready in %s", etcdStart)
	}
}

func leaveWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
