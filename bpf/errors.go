package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrAbsent means that no ledger is pinned.
	ErrAbsent = errors.New("no OOM ledger is loaded")
	// ErrABI means that the pinned ledger is of another ABI than this program's.
	ErrABI = errors.New("OOM ledger of another ABI")
	// ErrRetired means that the ledger was unloaded, replaced or damaged since it
	// was opened: what it answers may be out of date.
	ErrRetired = errors.New("OOM ledger is not in force any more")
	// ErrGap means that a ledger is in force, but was not when the container was
	// armed: kills may be missing from it.
	ErrGap = errors.New("OOM ledger began after the container")
	// ErrEvicted means that so many others were killed since that an answer may
	// have been pushed out of the ledger.
	ErrEvicted = errors.New("pushed out of the OOM ledger")
	// ErrPIDs means that the ledger's PIDs are those of another PID namespace than
	// this process's.
	ErrPIDs = errors.New("OOM ledger of another PID namespace")
	// ErrPermission means that the process may not load or read the ledger. It
	// wraps fs.ErrPermission.
	ErrPermission = fmt.Errorf("OOM ledger: %w", fs.ErrPermission)
	// ErrNotBPFFS means that a folder cannot have a ledger, and stands behind its name.
	ErrNotBPFFS = errors.New("is not on a BPF filesystem")
	// ErrForeign means that others than root can change what is in the ledger's folder.
	ErrForeign = errors.New("OOM ledger's folder is not root's alone")
	// ErrBusy means that another process is loading, or reading the ring.
	ErrBusy = errors.New("OOM ledger is held by another process")
)

// named is a capability by its number in include/uapi/linux/capability.h.
type named struct {
	bit  uint
	name string
}

var (
	capSysAdmin    = named{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}
	capSysResource = named{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"}
	capPerfmon     = named{unix.CAP_PERFMON, "CAP_PERFMON"}
	capBPF         = named{unix.CAP_BPF, "CAP_BPF"}
)

// missingCaps names those of the wanted capabilities that the process lacks.
// CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (include/linux/capability.h,
// bpf_capable and perfmon_capable).
func missingCaps(wanted ...named) []string {
	have := effectiveCaps()
	if have&(1<<capSysAdmin.bit) != 0 {
		have |= 1<<capBPF.bit | 1<<capPerfmon.bit
	}
	var missing []string
	for _, c := range wanted {
		if have&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// effectiveCaps is 0 where it can't be read.
func effectiveCaps() uint64 {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return caps
		}
	}
	return 0
}

// permission turns a refusal into ErrPermission with the names of what the
// process lacks, and leaves other errors alone.
func permission(err error, wanted ...named) error {
	if err == nil || !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrPermission) {
		return err
	}
	missing := missingCaps(wanted...)
	if len(missing) == 0 && len(wanted) > 0 {
		return fmt.Errorf("%w: the kernel refuses it, no capability is missing: %w", ErrPermission, err)
	}
	if len(missing) == 0 {
		return fmt.Errorf("%w: %w", ErrPermission, err)
	}
	needs := strings.Join(missing, " and ")
	if slices.Contains(missing, capBPF.name) || slices.Contains(missing, capPerfmon.name) {
		needs += " (or CAP_SYS_ADMIN)"
	}
	return fmt.Errorf("%w: needs %s: %w", ErrPermission, needs, err)
}

// perfParanoid is kernel.perf_event_paranoid.
const perfParanoid = "/proc/sys/kernel/perf_event_paranoid"

// perfPermission returns what perf_event_open lacks, by which a kprobe is attached.
// Debian's kernels have a level above upstream's 2, and set it, at which CAP_PERFMON
// is not enough (Debian's patch "security,perf: Allow further restriction of
// perf_event_open").
func perfPermission(err error) error {
	if err == nil || !errors.Is(err, fs.ErrPermission) || len(missingCaps(capPerfmon)) > 0 || len(missingCaps(capSysAdmin)) == 0 {
		return err
	}
	text, _ := os.ReadFile(perfParanoid) // empty where it can't be read
	level, nerr := strconv.Atoi(strings.TrimSpace(string(text)))
	if nerr != nil || level <= 2 {
		return err
	}
	return fmt.Errorf("%w: needs CAP_SYS_ADMIN while kernel.perf_event_paranoid is %d, above 2: %w", ErrPermission, level, err)
}
