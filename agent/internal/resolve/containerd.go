package resolve

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

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// ContainerInfo is what containerd knows of a container.
type ContainerInfo struct {
	// Namespace is containerd's: k8s.io for Kubernetes.
	Namespace string
	Image     string
	// Name, Pod and PodNamespace are Kubernetes' names, PodUID is the UID that the
	// pod's cgroup has. All are "" but in the namespace Kubernetes: in others anybody
	// gives such labels.
	Name, Pod, PodNamespace, PodUID string
}

// Apply adds what containerd knows of a victim's container. A container of Kubernetes is in
// its pod's cgroup: where containerd has the ID in another pod, or the cgroup is not
// kubelet's, somebody has given the cgroup another's name, and the victim is of no
// container and no pod.
func (i *ContainerInfo) Apply(v *events.Victim) {
	if i.Namespace == events.KubernetesNamespace {
		if v.Pod == nil || v.Pod.UID != i.PodUID {
			v.Container, v.Pod = nil, nil
			return
		}
		v.Pod.Name, v.Pod.Namespace = i.Pod, i.PodNamespace
	}
	v.Container.Name, v.Container.Image, v.Container.Namespace = i.Name, i.Image, i.Namespace
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

// Containerd asks one containerd. Its absence is no error: nothing is known then.
// Its methods may be called concurrently.
type Containerd struct {
	address string

	// mu guards what follows. It is held while containerd is asked, which is
	// bounded: one that does not answer is not asked by the next either.
	mu     sync.Mutex
	conn   *grpc.ClientConn
	known  map[string]ContainerInfo
	order  []string   // of known, oldest first
	absent *lru.Cache // when containerd did not have an ID
	silent time.Time

	err atomic.Pointer[error] // why it was silent, nil since it has answered
}

// NewContainerd makes a client of the containerd at a socket, "" for none. It connects
// when it is first asked.
func NewContainerd(address string) *Containerd {
	return &Containerd{address: address, known: map[string]ContainerInfo{}, absent: lru.New(maxAbsent)}
}

// Close ends the connection.
func (c *Containerd) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Err returns why containerd did not answer when it was asked last, nil if it did. It
// does not wait.
func (c *Containerd) Err() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Lookup returns what containerd knows of a container by its ID. What it has
// answered once is known also when the container is gone. It is not asked of an ID
// that no container of containerd can have: such an ID is the name of a cgroup that
// anybody may have made.
func (c *Containerd) Lookup(ctx context.Context, id string) (ContainerInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info, ok := c.known[id]; ok {
		return info, true
	}
	if c.address == "" || identifiers.Validate(id) != nil || time.Since(c.silent) < pause || c.absentLocked(id) {
		return ContainerInfo{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, ok, err := c.ask(ctx, id)
	if err != nil && !answered(err) {
		c.silent = time.Now()
		c.err.Store(&err)
		return ContainerInfo{}, false
	}
	c.err.Store(nil)
	if err != nil {
		return ContainerInfo{}, false
	}
	if !ok {
		c.absent.Add(id, time.Now())
	} else {
		c.rememberLocked(id, info)
	}
	return info, ok
}

// absentLocked reports whether containerd did not have an ID a moment ago: whoever makes
// cgroups has it asked as often as one of their processes is killed.
func (c *Containerd) absentLocked(id string) bool {
	at, ok := c.absent.Get(id)
	return ok && time.Since(at.(time.Time)) < pause
}

// ask tries the namespaces one by one, since an ID says nothing of its own.
func (c *Containerd) ask(ctx context.Context, id string) (ContainerInfo, bool, error) {
	if err := c.connect(); err != nil {
		return ContainerInfo{}, false, err
	}
	namespaces, err := c.namespaces(ctx)
	if err != nil {
		return ContainerInfo{}, false, err
	}
	client := containersapi.NewContainersClient(c.conn)
	for _, ns := range namespaces {
		answer, err := client.Get(inNamespace(ctx, ns), &containersapi.GetContainerRequest{ID: id})
		switch status.Code(err) {
		case codes.OK:
			return infoOf(ns, answer.GetContainer()), true, nil
		case codes.NotFound:
		default:
			return ContainerInfo{}, false, err
		}
	}
	return ContainerInfo{}, false, nil
}

// answered reports whether an error is containerd's answer to one question, so that
// others may be asked.
func answered(err error) bool {
	code := status.Code(err)
	return code != codes.Unavailable && code != codes.DeadlineExceeded && !errors.Is(err, fs.ErrNotExist)
}

func (c *Containerd) connect() error {
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

func (c *Containerd) namespaces(ctx context.Context) ([]string, error) {
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
		case a == events.KubernetesNamespace:
			return -1
		case b == events.KubernetesNamespace:
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

func infoOf(ns string, c *containersapi.Container) ContainerInfo {
	info := ContainerInfo{Namespace: ns, Image: imageText(c.GetImage())}
	if labels := c.GetLabels(); ns == events.KubernetesNamespace {
		info.Name, info.Pod = labels[labelName], labels[labelPod]
		info.PodNamespace, info.PodUID = labels[labelPodNamespace], labels[labelPodUID]
	}
	return info
}

func (c *Containerd) rememberLocked(id string, info ContainerInfo) {
	if len(c.order) == maxKnown {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
	c.known[id] = info
	c.order = append(c.order, id)
}
