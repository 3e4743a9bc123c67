package resolve

import (
	"slices"
	"time"
)

// KnownPod is a pod as it is kept over a restart of the agent.
type KnownPod struct {
	Pod
	// Hash is a static pod's UID on the node, "" for others.
	Hash string `json:",omitempty"`
	// Gone is when it was found removed, zero while it is there.
	Gone time.Time `json:",omitzero"`
}

// Restore takes what the store of an agent before this one knew: before Watch, which
// finds what of it has changed, and what is gone.
func (s *PodStore) Restore(list []KnownPod) {
	// As they came: those that are there have what leads to them, such as a hash.
	inOrder := slices.SortedFunc(slices.Values(list), func(a, b KnownPod) int {
		if a.Gone.IsZero() != b.Gone.IsZero() {
			return b.Gone.Compare(a.Gone)
		}
		return a.Gone.Compare(b.Gone)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range inOrder {
		s.putLocked(&entry{k.Pod, k.Hash})
		if !k.Gone.IsZero() {
			s.gone[k.UID] = true
			s.removed = append(s.removed, removal{k.UID, k.Gone})
		}
	}
	s.forgetLocked()
}

// Notify has f called with each pod that is new, has changed or was removed from now
// on. It must not wait, nor change the pod.
func (s *PodStore) Notify(f func(KnownPod)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify = f
}

func (s *PodStore) notifyLocked(k KnownPod) {
	if s.notify != nil {
		s.notify(k)
	}
}

// All are the pods that are known, in no order. They are not to be changed.
func (s *PodStore) All() []KnownPod {
	s.mu.RLock()
	defer s.mu.RUnlock()
	gone := map[string]time.Time{}
	for _, r := range s.removed {
		gone[r.uid] = r.at
	}
	list := make([]KnownPod, 0, len(s.pods))
	for uid, e := range s.pods {
		k := KnownPod{Pod: e.Pod, Hash: e.hash}
		if s.gone[uid] {
			k.Gone = gone[uid]
		}
		list = append(list, k)
	}
	return list
}
