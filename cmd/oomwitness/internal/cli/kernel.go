package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/why/text"
)

// kernel has the functions of package bpf that the commands use.
type kernel struct {
	load   func(bpf.Options) (bpf.Status, error)
	unload func(dir, lockDir string) error
	trial  func(bpf.Tier) error
	meta   func(dir string) (bpf.Meta, error)
	others func(dir string) []string
}

func realKernel() kernel {
	return kernel{load: bpf.Load, unload: bpf.Unload, trial: bpf.Trial, meta: readMeta, others: namesIn}
}

// namesIn returns the names in a folder, none if there is no folder.
func namesIn(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// stays says that unload has left a folder in which others have pinned something, "" if not.
func (k kernel) stays(dir string) string {
	const most = 3
	names := k.others(dir)
	if _, err := k.meta(dir); len(names) == 0 || !errors.Is(err, bpf.ErrAbsent) {
		return "" // also if a shim has loaded the ledger again
	}
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	return fmt.Sprintf("the folder %s stays: others have %s%s there", dir, text.Clean(strings.Join(names, ", ")), more)
}

// readMeta returns the metadata of the ledger pinned in dir.
func readMeta(dir string) (bpf.Meta, error) {
	l, err := bpf.Open(dir)
	if err != nil {
		return bpf.Meta{}, err
	}
	m, err := l.Meta()
	return m, errors.Join(err, l.Close())
}

// pins are the flags for the place of the ledger.
type pins struct{ dir, lockDir string }

// defaultPins returns the default place of the ledger.
func defaultPins() pins { return pins{dir: bpf.DefaultDir, lockDir: bpf.DefaultLockDir} }

func (p *pins) add(cmd *cobra.Command) { p.addTo(cmd.Flags()) }

func (p *pins) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&p.dir, "dir", bpf.DefaultDir, "directory of the pinned ledger, on a BPF file system")
	flags.StringVar(&p.lockDir, "lock-dir", bpf.DefaultLockDir, "directory of the lock files")
}

func (p *pins) check() error {
	return absolute("dir", p.dir, "lock-dir", p.lockDir)
}

// misplaced returns err, and of a folder that cannot have a ledger an error that says so.
func (p *pins) misplaced(err error) error {
	if errors.Is(err, bpf.ErrNotBPFFS) && p.dir != bpf.DefaultDir {
		return fmt.Errorf("--dir %q: has to be on a BPF file system, such as below /sys/fs/bpf", p.dir)
	}
	return err
}

// withAdvice adds what the operator can do to an error of package bpf. Errors of
// permission already name the missing capability.
func withAdvice(err error) error {
	switch {
	case errors.Is(err, bpf.ErrPermission) && os.Geteuid() != 0:
		err = fmt.Errorf("%w; run this as root", err)
	case errors.Is(err, bpf.ErrAbsent):
		err = fmt.Errorf("%w; load it with: oomwitness load", err)
	case errors.Is(err, bpf.ErrABI):
		err = fmt.Errorf("%w; use the oomwitness that loaded it, or oomwitness unload and then load", err)
	}
	return plain{err}
}

// plain is an error without the library's advice for programmers: the ledger's
// loader lifts that limit itself.
type plain struct{ error }

func (p plain) Unwrap() error { return p.error }

func (p plain) Error() string {
	return strings.ReplaceAll(p.error.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}
