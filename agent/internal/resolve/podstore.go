package resolve

import (
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// KeepPods is how long a pod is known after its removal. maxPods bounds all that is known,
// with their containers: four times what a large node has. Whoever may make pods may name this
// node in any number of them: kubelet refuses them, and the API server has them all the same.
const (
	KeepPods = 10 * time.Minute
	maxPods  = 8192
)

// PodStore has the pods of one node as the API server has them, and those that were
// removed in the last minutes. Of each pod it keeps what names its containers, and
// whether it may be evicted, and nothing else. All its methods may be called concurrently, and
// none waits for the API server.
type PodStore struct {
	node string

	mu sync.RWMutex
	// pods by the UID of the API server.
	pods map[string]*entry
	// hashes returns the UID of the newest mirror of a static pod.
	hashes map[string]string
	// room is what each namespace takes, of maxPods.
	room map[string]int
	// synced is closed when the first list was read.
	synced chan struct{}
	once   sync.Once
}

var (
	_ Pods                    = (*PodStore)(nil)
	_ cache.TransformingStore = (*PodStore)(nil)
)

// NewPodStore returns an empty PodStore of the pods of a node. Watch fills the PodStore.
func NewPodStore(node string) *PodStore {
	return &PodStore{
		node: node, pods: map[string]*entry{}, hashes: map[string]string{},
		room: map[string]int{}, synced: make(chan struct{}),
	}
}

// Synced is closed when all pods of the node were read once.
func (s *PodStore) Synced() <-chan struct{} { return s.synced }

// ByUID finds a pod by its own UID, or a static one by that in its cgroup's path.
func (s *PodStore) ByUID(uid string) (Pod, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.pods[uid]
	if e == nil {
		uid = s.hashes[uid]
		e = s.pods[uid]
	}
	if e == nil {
		return Pod{}, false
	}
	pod := e.Pod
	pod.Finished = pod.Finished || !e.gone.IsZero()
	return pod, true
}

// Len is the number of pods known, those removed included.
func (s *PodStore) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.pods)
}

// Add is called by the watch for a new pod.
func (s *PodStore) Add(obj any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLocked(obj)
	s.forgetLocked()
	return nil
}

// Update is called by the watch for a pod that has changed.
func (s *PodStore) Update(obj any) error { return s.Add(obj) }

// Delete is called by the watch for a pod that was removed.
func (s *PodStore) Delete(obj any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Its last state has the IDs of containers that ended with it.
	if uid := s.setLocked(obj); uid != "" {
		s.removeLocked(uid)
	}
	s.forgetLocked()
	return nil
}

// Replace is called by the watch with all the pods that there are.
func (s *PodStore) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := map[string]bool{}
	for _, obj := range list {
		present[s.setLocked(obj)] = true
	}
	for uid := range s.pods {
		if !present[uid] {
			s.removeLocked(uid)
		}
	}
	s.forgetLocked()
	s.once.Do(func() { close(s.synced) })
	return nil
}

// Resync has no meaning here.
func (s *PodStore) Resync() error { return nil }

// Transformer makes pods small before they are kept anywhere.
func (s *PodStore) Transformer() cache.TransformFunc { return strip }

// setLocked takes a pod and returns its UID.
func (s *PodStore) setLocked(obj any) string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.UID == "" {
		return ""
	}
	uid := string(pod.UID)
	before := s.pods[uid]
	e := compact(pod, s.node, before)
	if before != nil {
		s.dropLocked(before)
	}
	s.putLocked(e, before != nil)
	return uid
}

// putLocked takes an entry and what leads to it. known is true if the pod was there before.
func (s *PodStore) putLocked(e *entry, known bool) {
	s.pods[e.UID] = e
	s.room[e.Namespace] += e.weight()
	// The first mirror has the hash until it goes: no other pod takes it. A new one of
	// its name has come in its place.
	holder := s.hashes[e.hash]
	h := s.pods[holder]
	if e.hash != "" && (h == nil || !h.gone.IsZero() || !known && !e.Finished && h.Namespace == e.Namespace && h.Name == e.Name) {
		s.hashes[e.hash] = e.UID
	}
}

func (s *PodStore) removeLocked(uid string) {
	if e := s.pods[uid]; e != nil && e.gone.IsZero() {
		e.gone = time.Now()
	}
}

// forgetLocked drops the removed pods whose time is over, and pods of the namespace with the
// most if they are too many.
func (s *PodStore) forgetLocked() {
	all := 0
	for _, e := range s.pods {
		if !e.gone.IsZero() && time.Since(e.gone) >= KeepPods {
			s.dropLocked(e)
			continue
		}
		all += e.weight()
	}
	for all > maxPods {
		list := s.ofLocked(events.Heaviest(s.room))
		slices.SortFunc(list, lessNeeded)
		for _, e := range list[:1+len(list)/8] { // some at once, so that a flood does not sort at each
			s.dropLocked(e)
			all -= e.weight()
		}
	}
}

// ofLocked returns the pods of a namespace.
func (s *PodStore) ofLocked(namespace string) (list []*entry) {
	for _, e := range s.pods {
		if e.Namespace == namespace {
			list = append(list, e)
		}
	}
	return list
}

// lessNeeded orders pods that have to make room: those that were removed, the first of them
// first, then those that have ended.
func lessNeeded(a, b *entry) int {
	state := func(e *entry) int {
		switch {
		case !e.gone.IsZero():
			return 0
		case e.Finished:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(state(a), state(b)), a.gone.Compare(b.gone), cmp.Compare(a.UID, b.UID))
}

// weight is the room of a pod, of maxPods.
func (e *entry) weight() int { return 1 + len(e.Containers) }

// dropLocked forgets a pod, and what leads to it.
func (s *PodStore) dropLocked(e *entry) {
	delete(s.pods, e.UID)
	if s.room[e.Namespace] -= e.weight(); s.room[e.Namespace] == 0 {
		delete(s.room, e.Namespace)
	}
	if s.hashes[e.hash] == e.UID {
		delete(s.hashes, e.hash)
	}
}
