package agent

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// listenAgain is how often an address is tried that could not be had.
const listenAgain = 5 * time.Second

// unserved are the addresses that the agent can't have at the moment, by what is served there.
type unserved struct {
	mu   sync.Mutex // guards what follows
	errs map[string]error
}

// set notes why something is not served, nil where it is. It reports whether that is new.
func (u *unserved) set(what string, err error) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, before := u.errs[what]
	if err == nil {
		delete(u.errs, what)
		return before
	}
	if u.errs == nil {
		u.errs = map[string]error{}
	}
	u.errs[what] = err
	return !before
}

// text returns why each is not served, "" where all are.
func (u *unserved) text() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []string
	for what, err := range u.errs {
		list = append(list, what+": "+err.Error())
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// listen returns the listener of an address, nil where it can't be had: any user of the node
// may have the port, and after a boot the node may not have the address yet.
func (a *Agent) listen(ctx context.Context, what, address string) net.Listener {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	first := a.unserved.set(what, err)
	if err == nil {
		a.o.Log.WithField("address", listener.Addr().String()).Info("serves " + what)
		return listener
	}
	if first {
		a.o.Log.WithError(err).Error("the agent runs without its listener of " + what + ", and tries again")
	}
	return nil
}

// serveAt serves until ctx ends. Where there is no listener yet, it is tried again.
func (a *Agent) serveAt(ctx context.Context, listener net.Listener, what, address string, serve func(context.Context, net.Listener) error) error {
	for listener == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listenAgain):
			listener = a.listen(ctx, what, address)
		}
	}
	return serve(ctx, listener)
}
