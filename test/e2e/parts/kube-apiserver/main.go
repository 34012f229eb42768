// A throw-away Kubernetes control plane of one program: etcd, and the real kube-apiserver in front of it. Two processes, so that each can be
// killed alone.
//
//	kube-apiserver etcd <data folder> <client port> [quota in bytes]
//	kube-apiserver [flags of kube-apiserver...]
//
// Both live as long as their standard input stays open, so that no test run, however it dies, leaves one behind.
package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	go leaveWithParent()
	if len(os.Args) >= 4 && os.Args[1] == "etcd" {
		if err := serveEtcd(os.Args[2], os.Args[3], os.Args[4:]); err != nil {
			fail("etcd: " + err.Error())
		}
		return
	}
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}

// serveEtcd serves the folder on that loopback port until it breaks. Its members, of which there is one, talk on a port that the kernel picks.
// With a quota that is used up it takes no more writes: https://etcd.io/docs/latest/op-guide/maintenance/#space-quota. Without one it ends
// that, as `etcdctl alarm disarm` would.
func serveEtcd(folder, port string, quota []string) error {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	clients, peers := loopback(port), loopback("0")
	config.ListenPeerUrls, config.AdvertisePeerUrls = peers, peers
	config.ListenClientUrls, config.AdvertiseClientUrls = clients, clients
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = true // a killed process loses nothing by it, only a machine would

	if len(quota) > 0 {
		bytes, err := strconv.ParseInt(quota[0], 10, 64)
		if err != nil {
			return err
		}
		config.QuotaBackendBytes = bytes
	}
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	<-etcd.Server.ReadyNotify()
	if len(quota) == 0 {
		disarm := &pb.AlarmRequest{
			Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: uint64(etcd.Server.MemberID()),
		}
		if _, err := etcd.Server.Alarm(context.Background(), disarm); err != nil {
			return err
		}
	}
	return <-etcd.Err()
}

func loopback(port string) []url.URL {
	return []url.URL{{Scheme: "http", Host: "127.0.0.1:" + port}}
}

func leaveWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
