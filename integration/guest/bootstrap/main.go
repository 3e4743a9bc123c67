// Command bootstrap does in the guest what makes a cluster of its programs:
//
//	certificates   make what they know each other by, unless it is there
//	api            wait until the API server is ready
//	ready          wait until pods can be made
//
// kubectl could wait too, but the start of it takes seconds of an emulated CPU.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	folder = "/etc/kubernetes"
	server = "https://10.0.0.1:6443"

	admin     = "admin"
	apiServer = "kube-apiserver-kubelet-client"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bootstrap:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("want certificates, api or ready")
	}
	switch args[0] {
	case "certificates":
		// Written last.
		if _, err := os.Stat(filepath.Join(folder, "pki", serviceAccounts+".key")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return makeCertificates(folder)
	case "api", "ready":
		c, err := newClient(filepath.Join(folder, "pki"), server)
		if err != nil {
			return err
		}
		if args[0] == "api" {
			return c.waitAPI(ctx)
		}
		return c.waitPods(ctx)
	default:
		return fmt.Errorf("no command %q: want certificates, api or ready", args[0])
	}
}
