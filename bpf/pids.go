package bpf

import (
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// firstPIDNamespace is the inode of the kernel's first PID namespace
// (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const firstPIDNamespace = 0xEFFFFFFC

// ownPIDNamespace returns the inode of this process's PID namespace.
var ownPIDNamespace = sync.OnceValues(func() (uint32, error) { return pidNamespaceOf("self") })

// pidNamespaceOf returns the inode of a process's PID namespace, which has 32 bits.
func pidNamespaceOf(pid string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join("/proc", pid, "ns/pid"), &st); err != nil {
		return 0, fmt.Errorf("look at the PID namespace of %s: %w", pid, err)
	}
	return uint32(st.Ino), nil
}

// pidNS returns the inode of the PID namespace whose PIDs the ledger has.
func (m *metaValue) pidNS() uint32 {
	if m.PIDNS == 0 { // ABI 1
		return firstPIDNamespace
	}
	return m.PIDNS
}

// samePIDs returns an error where this process's PIDs are not those of the ledger.
func (l *Ledger) samePIDs() error {
	own, err := ownPIDNamespace()
	if err != nil {
		return err
	}
	if l.about.pidNS() != own {
		return fmt.Errorf("the OOM ledger has the PIDs of PID namespace %d, this process is in %d: %w", l.about.pidNS(), own, ErrPIDs)
	}
	return nil
}

// checkPIDs returns ErrRetired for a ledger that was loaded by a process that cannot know
// the node's PID namespace, as in a pod, where this one does; and ErrPIDs for one of
// another node, which shares the BPF filesystem with this node.
func (o Options) checkPIDs(m metaValue) error {
	if !o.OwnPIDs {
		return nil
	}
	own, err := ownPIDNamespace()
	switch has := m.pidNS(); {
	case err != nil || has == own:
		return err
	case has == firstPIDNamespace:
		return ErrRetired
	default:
		return fmt.Errorf("%w: %d is loaded, this is %d; unload it first, or give this node a BPF filesystem of its own", ErrPIDs, has, own)
	}
}
