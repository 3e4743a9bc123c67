package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// client is a client of the API server with the administrator's rights.
type client struct {
	http   http.Client
	server string
}

func newClient(pki, server string) (*client, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, admin+".crt"), filepath.Join(pki, admin+".key"))
	if err != nil {
		return nil, fmt.Errorf("certificate of the administrator: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &client{
		http:   http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 30 * time.Second},
		server: server,
	}, nil
}

// call sends a body, if any, and decodes the answer into into, if that is not nil.
func (c *client) call(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, sent)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	// The object exists already if an earlier boot has made it.
	if response.StatusCode >= 300 && response.StatusCode != http.StatusConflict {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// poll is the pause between two questions to the API server.
const poll = 500 * time.Millisecond

func until(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(poll):
		}
	}
}

// waitAPI waits until the API server is ready and has made its own roles: without the roles it
// would refuse its clients.
func (c *client) waitAPI(ctx context.Context) error {
	return until(ctx, func() error { return c.call(ctx, http.MethodGet, "/readyz", nil, nil) })
}

type object map[string]any

// kubeletAPI lets the API server call kubelet for logs and exec.
var kubeletAPI = object{
	"metadata": object{"name": apiServer},
	"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
	"subjects": []object{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": apiServer}},
}

// waitPods waits until the node is ready and the default service account of pods exists.
func (c *client) waitPods(ctx context.Context) error {
	const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
	for _, ask := range []func() error{
		func() error { return c.call(ctx, http.MethodPost, bindings, kubeletAPI, nil) },
		func() error { return c.nodeReady(ctx) },
		func() error {
			return c.call(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil, nil)
		},
	} {
		if err := until(ctx, ask); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) nodeReady(ctx context.Context) error {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/nodes/node", nil, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != "Ready" {
			continue
		}
		if condition.Status == "True" {
			return nil
		}
		return fmt.Errorf("node is not ready: %s", condition.Message)
	}
	return errors.New("node has no condition Ready")
}
