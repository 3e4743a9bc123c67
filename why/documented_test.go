package why_test

import (
	"testing"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestFieldsAreDocumented: whoever reads the JSON finds each field on the page.
func TestFieldsAreDocumented(t *testing.T) {
	clitest.Documented(t, "../docs/why.md", why.Document{}, why.Top{}, why.Status{})
}
