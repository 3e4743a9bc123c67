package containerd

import (
	"fmt"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// closed are systems, by their ID in os-release(5), on which no program may configure
// containerd, with the way that each offers instead.
var closed = map[string]string{
	"bottlerocket": "its root is read-only and verified, and its settings API knows no further runtime handler",
	"talos": "its root is read-only, and its files come from the machine configuration. A system extension can bring the shim, " +
		"and a CRICustomizationConfig its registration, which \"oomwitness install --print toml\" prints",
}

// Closed returns an error for a system on which nothing can be installed.
func Closed(root rootfs.Dir) error {
	for line := range strings.Lines(root.Text("/etc/os-release")) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), "ID=")
		if why := closed[strings.Trim(value, `"'`)]; found && why != "" {
			return fmt.Errorf("this node is %s: %s. The ledger and the agent run there, by the Helm chart with shim.enabled=false", strings.Trim(value, `"'`), why)
		}
	}
	return nil
}
