package events

import (
	"github.com/oomwitness/oomwitness/why/text"
)

// Size is a number of bytes in four digits or fewer.
func Size(bytes uint64) string {
	number, prefix := text.Scale(bytes)
	return number + " " + prefix + "B"
}

// Clean returns text of others as one line that a terminal shows as it stands: a process
// may call itself anything. Clean of what Clean has returned is the same.
func Clean(s string) string { return text.Clean(s) }
