// Package containers asks containerd what a container is called.
package containers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/utils/lru"
)

// Info is what containerd knows of a container.
type Info struct {
	// Namespace is containerd's: k8s.io for Kubernetes.
	Namespace string
	Image     string
	// Name, Pod and PodNamespace are Kubernetes' names, PodUID is the UID that the
	// pod's cgroup has. All are "" but in the namespace Kubernetes: in others anybody
	// gives such labels.
	Name, Pod, PodNamespace, PodUID string
}

// Known is a container with its ID, as it is kept over a restart of the agent.
type Known struct {
	ID   string `json:"id"`
	Info Info   `json:"info"`
}

// Labels that CRI and kubelet give a container.
const (
	labelName         = "io.kubernetes.container.name"
	labelPod          = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodUID       = "io.kubernetes.pod.uid"
)

const (
	// timeout bounds one question. A containerd that runs answers in a millisecond, on a
	// node whose CPUs are all taken in a second: a kill without its container's name is
	// worse than one that is reported 2 s late.
	timeout = 2 * time.Second
	// pause is how long containerd is left alone when it did not answer.
	pause = 5 * time.Second
	// maxKnown bounds the cache, maxAbsent what is known not to be there.
	maxKnown, maxAbsent = 4096, 1024
	nsHeader            = "containerd-namespace" // pkg/namespaces.GRPCHeader
)

// Kubernetes is CRI's namespace in containerd, asked first.
const Kubernetes = "k8s.io"

// Client asks one containerd. Its absence is no error: nothing is known then.
// Its methods may be called concurrently.
type Client struct {
	address string

	// mu guards what follows. It is held while containerd is asked, which is
	// bounded: one that does not answer is not asked by the next either.
	mu     sync.Mutex
	conn   *grpc.ClientConn
	known  map[string]Info
	order  []string    // of known, oldest first
	absent *lru.Cache  // when containerd did not have an ID
	notify func(Known) // may be nil
	silent time.Time

	err atomic.Pointer[error] // why it was silent, nil since it has answered
}

// New makes a client of the containerd at a socket, "" for none. It connects
// when it is first asked.
func New(address string) *Client {
	return &Client{address: address, known: map[string]Info{}, absent: lru.New(maxAbsent)}
}

// Close ends the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Err returns why containerd did not answer when it was asked last, nil if it did. It
// does not wait.
func (c *Client) Err() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Restore takes what the client of an agent before this one knew. Containerd is not
// asked of these.
func (c *Client) Restore(list []Known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range list {
		if _, ok := c.known[k.ID]; !ok {
			c.rememberLocked(k.ID, k.Info)
		}
	}
}

// Notify has f called with each container that containerd names from now on. It
// must not wait.
func (c *Client) Notify(f func(Known)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify = f
}

// All are the containers that are known, oldest first.
func (c *Client) All() []Known {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Known, 0, len(c.order))
	for _, id := range c.order {
		list = append(list, Known{id, c.known[id]})
	}
	return list
}

// Lookup returns what containerd knows of a container by its ID. What it has
// answered once is known also when the container is gone. It is not asked of an ID
// that no container of containerd can have: such an ID is the name of a cgroup that
// anybody may have made.
func (c *Client) Lookup(ctx context.Context, id string) (Info, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info, ok := c.known[id]; ok {
		return info, true
	}
	if c.address == "" || identifiers.Validate(id) != nil || time.Since(c.silent) < pause || c.absentLocked(id) {
		return Info{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, ok, err := c.ask(ctx, id)
	if err != nil && !answered(err) {
		c.silent = time.Now()
		c.err.Store(&err)
		return Info{}, false
	}
	c.err.Store(nil)
	if err != nil {
		return Info{}, false
	}
	if !ok {
		c.absent.Add(id, time.Now())
	} else {
		c.rememberLocked(id, info)
		if c.notify != nil {
			c.notify(Known{id, info})
		}
	}
	return info, ok
}

// absentLocked reports whether containerd did not have an ID a moment ago: whoever makes
// cgroups has it asked as often as one of their processes is killed.
func (c *Client) absentLocked(id string) bool {
	at, ok := c.absent.Get(id)
	return ok && time.Since(at.(time.Time)) < pause
}

// ask tries the namespaces one by one, since an ID says nothing of its own.
func (c *Client) ask(ctx context.Context, id string) (Info, bool, error) {
	if err := c.connect(); err != nil {
		return Info{}, false, err
	}
	namespaces, err := c.namespaces(ctx)
	if err != nil {
		return Info{}, false, err
	}
	client := containersapi.NewContainersClient(c.conn)
	for _, ns := range namespaces {
		answer, err := client.Get(inNamespace(ctx, ns), &containersapi.GetContainerRequest{ID: id})
		switch status.Code(err) {
		case codes.OK:
			return infoOf(ns, answer.GetContainer()), true, nil
		case codes.NotFound:
		default:
			return Info{}, false, err
		}
	}
	return Info{}, false, nil
}

// answered reports whether an error is containerd's answer to one question, so that
// others may be asked.
func answered(err error) bool {
	code := status.Code(err)
	return code != codes.Unavailable && code != codes.DeadlineExceeded && !errors.Is(err, fs.ErrNotExist)
}

func (c *Client) connect() error {
	if c.conn != nil {
		return nil
	}
	if _, err := os.Stat(c.address); err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix://"+c.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: pause / 5, Multiplier: 1, MaxDelay: pause / 5}}))
	if err != nil {
		return err
	}
	c.conn = conn
	return nil
}

func (c *Client) namespaces(ctx context.Context) ([]string, error) {
	answer, err := namespacesapi.NewNamespacesClient(c.conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, ns := range answer.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case a == Kubernetes:
			return -1
		case b == Kubernetes:
			return 1
		default:
			return 0
		}
	})
	return names, nil
}

func inNamespace(ctx context.Context, ns string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, nsHeader, ns)
}

func infoOf(ns string, c *containersapi.Container) Info {
	info := Info{Namespace: ns, Image: c.GetImage()}
	if labels := c.GetLabels(); ns == Kubernetes {
		info.Name, info.Pod = labels[labelName], labels[labelPod]
		info.PodNamespace, info.PodUID = labels[labelPodNamespace], labels[labelPodUID]
	}
	return info
}

func (c *Client) rememberLocked(id string, info Info) {
	if len(c.order) == maxKnown {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
	c.known[id] = info
	c.order = append(c.order, id)
}
