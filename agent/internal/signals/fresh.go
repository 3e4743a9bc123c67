package signals

import (
	"fmt"
	"time"
)

// Appeared receives the path of a new cgroup. It never waits: if too many appear at once, the
// container is found again by what is known of the node, see sweep.
func (i *Inits) Appeared(path string) {
	at := i.Kubelet.Locate(path)
	if at.Container == "" || at.Path != path {
		return
	}
	select {
	case i.fresh <- newPlace(path, at.Container):
	default:
		i.missed.Add(1)
		i.again.Store(true)
	}
	select {
	case i.wake <- struct{}{}:
	default: // Run is to wake already
	}
}

func newPlace(path, container string) place {
	return place{path: path, container: container, until: time.Now().Add(patience)}
}

// Missed counts the containers that were not looked for at once, as too many had appeared.
func (i *Inits) Missed() uint64 { return i.missed.Load() }

// look looks for the inits of the containers that have appeared, and reports whether more is
// to be looked for. It is for one goroutine.
func (i *Inits) look() (more bool) {
	i.drain()
	if len(i.pending) < maxFresh && i.again.Swap(false) {
		i.sweep()
	}
	waiting := i.pending[:0]
	for _, p := range i.pending {
		if !i.find(&p) && time.Now().Before(p.until) {
			waiting = append(waiting, p)
		} else {
			i.done.Add(p.container, nil)
		}
	}
	clear(i.pending[len(waiting):])
	i.pending = waiting
	return len(i.pending) > 0 || i.again.Load()
}

func (i *Inits) drain() {
	for len(i.pending) < maxFresh {
		select {
		case p := <-i.fresh:
			i.pending = append(i.pending, p)
		default:
			return
		}
	}
}

// sweep adds the containers that are there and have been looked for by nobody.
func (i *Inits) sweep() {
	if i.All == nil {
		return
	}
	pending := make(map[string]bool, len(i.pending))
	for _, p := range i.pending {
		pending[p.container] = true
	}
	for _, k := range i.All() {
		at := i.Kubelet.Locate(k.Path)
		if !k.Gone.IsZero() || at.Container == "" || at.Path != k.Path || pending[at.Container] {
			continue
		}
		if _, done := i.done.Get(at.Container); done {
			continue
		}
		if len(i.pending) >= maxFresh {
			i.again.Store(true)
			return
		}
		i.pending = append(i.pending, newPlace(k.Path, at.Container))
	}
}

// sayMissed warns once of containers that were not looked for at once.
func (r *Reader) sayMissed() {
	if n := r.o.Inits.Missed(); n > 0 && !r.saidMissed {
		r.saidMissed = true
		r.o.Warn(fmt.Errorf("more than %d containers appeared at once: of %d more the init is looked for later, and the sender of a SIGKILL may stay unknown until then", maxFresh, n))
	}
}
