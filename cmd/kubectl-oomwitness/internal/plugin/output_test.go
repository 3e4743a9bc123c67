package plugin

import (
	"testing"

	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestFieldsAreDocumented: whoever reads the output of -o json finds each field on the page.
func TestFieldsAreDocumented(t *testing.T) {
	clitest.Documented(t, "../../../../docs/why.md", topAnswer{}, nodesAnswer{}, versions{})
}
