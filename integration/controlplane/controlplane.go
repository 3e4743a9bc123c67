//go:build linux

// Package controlplane runs a real etcd and a real API server on this machine's loopback, for
// tests that need Kubernetes' API and no node. It takes seconds, and needs neither root nor a
// virtual machine.
//
// There is no kubelet: pods are objects, and the tests write their status. Controllers run if a
// test asks for them.
package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/oomwitness/oomwitness/integration/node"
)

// startTime is how long a program may take to be ready. Seconds are enough, unless virtual
// machines run on the same machine.
const startTime = 5 * time.Minute

// Plane is the control plane of one test.
type Plane struct {
	// Config has the administrator's rights. Client uses Config.
	Config *rest.Config
	Client kubernetes.Interface
	// Kubeconfig is the path of a file with the same rights, for programs.
	Kubeconfig string

	dir, programs string
	token         string
	port          int
	etcd, api     *process
	controllers   *process
	scheduler     *process
}

// Start starts etcd and the API server, and stops them with the test. It fails the test if
// their programs are not built.
func Start(t testing.TB) *Plane {
	t.Helper()
	p := &Plane{dir: t.TempDir(), programs: Programs(t)}
	for _, file := range []string{"etcd.log", "kube-apiserver.log", "kube-controller-manager.log"} {
		t.Cleanup(func() {
			if t.Failed() {
				showTail(t, filepath.Join(p.dir, file))
			}
		})
	}
	t.Cleanup(p.stop)
	if err := p.start(t.Context()); err != nil {
		t.Fatalf("control plane: %v", err)
	}
	return p
}

// Programs returns the folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
// It fails the test if they are not built.
func Programs(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	repo, err := node.FindRepo(wd)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := node.Config{Repo: repo, Cache: node.DefaultCache(repo)}.ClusterDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kube-apiserver")); err != nil {
		t.Fatalf("the programs of a control plane are not built: %v\n\"make cluster-programs\" builds them, which takes minutes", err)
	}
	return dir
}

func (p *Plane) start(ctx context.Context) error {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	p.token = hex.EncodeToString(random)
	users := []byte(p.token + ",admin,admin,system:masters\n")
	if err := os.WriteFile(filepath.Join(p.dir, "tokens.csv"), users, 0o600); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(p.dir, "sa.key")); err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	p.port = ports[2]
	client, peer := "http://127.0.0.1:"+strconv.Itoa(ports[0]), "http://127.0.0.1:"+strconv.Itoa(ports[1])
	p.etcd, err = startProcess(p.dir, filepath.Join(p.programs, "etcd"),
		"--data-dir="+filepath.Join(p.dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if err != nil {
		return err
	}
	p.api = &process{dir: p.dir, path: filepath.Join(p.programs, "kube-apiserver"), args: []string{
		"--etcd-servers=" + client, "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(p.port),
		"--advertise-address=127.0.0.1", "--cert-dir=" + filepath.Join(p.dir, "certs"),
		"--token-auth-file=" + filepath.Join(p.dir, "tokens.csv"), "--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + filepath.Join(p.dir, "sa.key"),
		"--service-account-signing-key-file=" + filepath.Join(p.dir, "sa.key"), "--service-cluster-ip-range=10.96.0.0/16",
		"--disable-admission-plugins=ServiceAccount", "--allow-privileged=true", "--endpoint-reconciler-type=none",
	}}
	if err := p.api.start(); err != nil {
		return err
	}
	return p.connect(ctx)
}

// connect waits for the API server, and makes the clients.
func (p *Plane) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	ca := filepath.Join(p.dir, "certs", "apiserver.crt")
	if err := until(ctx, p.api, func() error {
		_, err := os.Stat(ca)
		return err
	}); err != nil {
		return err
	}
	p.Config = &rest.Config{
		Host: p.URL(), BearerToken: p.token, TLSClientConfig: rest.TLSClientConfig{CAFile: ca},
		QPS: -1, // no limit for the tests' own requests
	}
	client, err := kubernetes.NewForConfig(p.Config)
	if err != nil {
		return err
	}
	p.Client = client
	p.Kubeconfig = filepath.Join(p.dir, "kubeconfig")
	if err := writeKubeconfig(p.Kubeconfig, p.Config); err != nil {
		return err
	}
	return p.WaitReady(ctx)
}

// URL returns the address of the API server as an URL.
func (p *Plane) URL() string { return "https://" + p.Address() }

// Address returns host and port of the API server.
func (p *Plane) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// WaitReady waits until the API server answers that it is ready, for at most five minutes.
func (p *Plane) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return until(ctx, p.api, func() error {
		return p.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").MaxRetries(0).Do(ctx).Error()
	})
}

// KillAPI ends the API server with SIGKILL.
func (p *Plane) KillAPI() { p.api.kill() }

// StartAPI starts the API server again at the same address, and waits until it is ready.
func (p *Plane) StartAPI(ctx context.Context) error {
	if err := p.api.start(); err != nil {
		return err
	}
	return p.WaitReady(ctx)
}

// StartControllers starts some controllers of the controller manager, such as disruption and
// replicaset-controller.
func (p *Plane) StartControllers(t testing.TB, controllers string) {
	t.Helper()
	var err error
	p.controllers, err = startProcess(p.dir, filepath.Join(p.programs, "kube-controller-manager"),
		"--kubeconfig="+p.Kubeconfig, "--controllers="+controllers, "--leader-elect=false", "--secure-port=0")
	if err != nil {
		t.Fatal(err)
	}
}

// StartScheduler starts the scheduler.
func (p *Plane) StartScheduler(t testing.TB) {
	t.Helper()
	var err error
	p.scheduler, err = startProcess(p.dir, filepath.Join(p.programs, "kube-scheduler"),
		"--kubeconfig="+p.Kubeconfig, "--leader-elect=false", "--secure-port=0")
	if err != nil {
		t.Fatal(err)
	}
}

func (p *Plane) stop() {
	for _, program := range []*process{p.scheduler, p.controllers, p.api, p.etcd} {
		if program != nil {
			program.kill()
		}
	}
}

// freePorts returns n ports of the loopback on which nobody listens.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // Listen does not block
		if err != nil {
			return nil, fmt.Errorf("find a port: %w", err)
		}
		defer listener.Close() //nolint:errcheck // nobody connects
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// writeKey makes the signing key for tokens of service accounts.
func writeKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

func writeKubeconfig(path string, config *rest.Config) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["plane"] = &clientcmdapi.Cluster{
		Server: config.Host, CertificateAuthority: config.CAFile,
	}
	c.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	c.Contexts["plane"] = &clientcmdapi.Context{Cluster: "plane", AuthInfo: "admin"}
	c.CurrentContext = "plane"
	return clientcmd.WriteToFile(*c, path)
}
