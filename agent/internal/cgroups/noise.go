package cgroups

import (
	"strings"

	"golang.org/x/time/rate"
)

const (
	// maxNews and newsAtOnce are how many cgroups of one owner may come in a second,
	// and at once.
	maxNews    = 20
	newsAtOnce = 500
	// maxScans and scansAtOnce are how many walks in a second events may ask for.
	maxScans    = 1
	scansAtOnce = 8
)

// noise bounds what events of cgroups that anybody makes cost.
type noise struct {
	rates map[string]*rate.Limiter // by owner
	// muted are owners who made more than that: none of theirs is watched until the
	// tree is walked again.
	muted map[string]bool
	// left says that a cgroup that has an owner is not watched.
	left  bool
	scans *rate.Limiter
}

func newNoise() noise {
	return noise{rates: map[string]*rate.Limiter{}, muted: map[string]bool{}, scans: rate.NewLimiter(maxScans, scansAtOnce)}
}

// newsLocked reports whether a new cgroup is to be looked at.
func (w *Watcher) newsLocked(path string) bool {
	owner := w.tree.Kubelet.owner(path)
	switch {
	case owner == "":
		return true
	case w.noise.muted[owner]:
		return false
	}
	limiter := w.noise.rates[owner]
	if limiter == nil {
		limiter = rate.NewLimiter(maxNews, newsAtOnce)
		w.noise.rates[owner] = limiter
	}
	if limiter.Allow() {
		return true
	}
	w.muteLocked(owner)
	return false
}

// muteLocked ends all watches of an owner.
func (w *Watcher) muteLocked(owner string) {
	w.noise.muted[owner], w.noise.left = true, true
	for path, d := range w.byPath {
		if d.watch >= 0 && strings.HasPrefix(path, owner) && w.tree.Kubelet.owner(path) == owner {
			w.unwatchLocked(d)
			w.byPath[path] = dir{d.id, -1}
		}
	}
}

// againLocked walks the tree since events were lost, unless that was so too often: then
// it is walked in a second.
func (w *Watcher) againLocked() {
	if w.noise.scans.Allow() {
		_ = w.scanLocked() // walked again in a second
		return
	}
	w.whole = false
}
