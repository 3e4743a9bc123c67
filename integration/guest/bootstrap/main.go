// Command bootstrap makes a cluster out of its programs, in the guest:
//
//	certificates   make certificates, keys and kubeconfigs, unless they exist
//	api            wait until the API server is ready
//	ready          wait until pods can be made
//
// kubectl could wait too, but its start takes seconds on an emulated CPU.
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
		// This file is written last.
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
