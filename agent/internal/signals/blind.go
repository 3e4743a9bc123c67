package signals

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// blind returns why the init of no container can be found, "" if inits can be found: by the
// files that shims of containerd write, or by PIDs, for which this process has to be in the
// PID namespace of the ledger.
func (i *Inits) blind(pidNamespace uint32) string {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &own); err != nil || pidNamespace == 0 || uint32(own.Ino) == pidNamespace {
		return ""
	}
	if i.State == "" {
		return "the agent is in a PID namespace of its own (hostPID), and has no socket of containerd (--address), in whose folder the PIDs of inits are"
	}
	bundles := filepath.Join(i.State, bundlesDir)
	if fi, err := os.Stat(bundles); err != nil || !fi.IsDir() {
		return fmt.Sprintf("the agent is in a PID namespace of its own (hostPID), and there is no folder %s with the PIDs of inits", bundles)
	}
	return ""
}

// Blind returns why the senders of SIGKILL are known for containers of our shim alone, "" if
// they are known for others too.
func (r *Reader) Blind() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blind
}

// see looks whether inits can be found, and warns where that has changed to no.
func (r *Reader) see() {
	m, err := r.o.Ledger.Meta()
	if err != nil {
		return // that there is no ledger is known already
	}
	now := r.o.Inits.blind(m.PIDNS)
	r.mu.Lock()
	before := r.blind
	r.blind = now
	r.mu.Unlock()
	if now != "" && now != before {
		r.o.Warn(fmt.Errorf("the senders of SIGKILL are known for containers of oomwitness's shim alone: %s", now))
	}
}
