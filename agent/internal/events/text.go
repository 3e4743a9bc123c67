package events

import (
	"fmt"

	"github.com/oomwitness/oomwitness/why/text"
)

// Size is a number of bytes in four digits or fewer.
func Size(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	value, unit := float64(bytes), 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// Clean returns text of others as one line that a terminal shows as it stands: a process
// may call itself anything. Clean of what Clean has returned is the same.
func Clean(s string) string { return text.Clean(s) }
