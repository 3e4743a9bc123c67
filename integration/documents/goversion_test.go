package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoVersion: the pages that have somebody build the programs name the version of Go that
// go.mod asks for, and no other.
func TestGoVersion(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(Root, "go.mod"))
	require.NoError(t, err)
	want := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	require.NotNil(t, want)
	for _, name := range []string{"README.md", "docs/install.md", "docs/kubernetes.md"} {
		page, err := Read(name)
		require.NoError(t, err)
		named := regexp.MustCompile(`Go (1\.\d+\.\d+)`).FindAllStringSubmatch(string(page.Text), -1)
		require.NotEmpty(t, named, name)
		for _, version := range named {
			require.Equal(t, string(want[1]), version[1], name)
		}
	}
}
