package documents

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func pages(t *testing.T) []Page {
	t.Helper()
	all, err := Pages()
	require.NoError(t, err)
	require.Greater(t, len(all), 10)
	return all
}

// TestLinks follows each link within the repository: the file must exist, and so must the
// anchor in a page.
func TestLinks(t *testing.T) {
	for _, p := range pages(t) {
		for _, destination := range p.Links() {
			assert.Empty(t, broken(t, p, destination), "%s: [](%s)", p.Name, destination)
		}
	}
}

// broken returns what is wrong with a link of a page, "" for nothing.
func broken(t *testing.T, from Page, destination string) string {
	t.Helper()
	to, err := url.Parse(destination)
	switch {
	case err != nil:
		return err.Error()
	case to.Scheme == "https":
		return ""
	case to.Scheme != "":
		return "not https"
	}
	name := from.Name
	if to.Path != "" {
		name = path.Join(path.Dir(from.Name), to.Path)
	}
	if _, err := os.Stat(filepath.Join(Root, name)); err != nil {
		return "no such file"
	}
	if to.Fragment == "" {
		return ""
	}
	page, err := Read(name)
	require.NoError(t, err)
	if !slices.Contains(page.Anchors(), to.Fragment) {
		return "no such heading: there are " + strings.Join(page.Anchors(), ", ")
	}
	return ""
}

// TestBrokenLinks tests the check itself.
func TestBrokenLinks(t *testing.T) {
	readme, err := Read("README.md")
	require.NoError(t, err)
	assert.Empty(t, broken(t, readme, "docs/ledger.md#tiers"))
	for _, destination := range []string{"docs/none.md", "docs/ledger.md#none", "http://example.com", "%zz", "#none"} {
		require.NotEmpty(t, broken(t, readme, destination), "%s", destination)
	}
}

// TestEveryPageIsLinked: the README names each page of docs/.
func TestEveryPageIsLinked(t *testing.T) {
	readme, err := Read("README.md")
	require.NoError(t, err)
	links := readme.Links()
	for _, p := range pages(t) {
		if p.Name != readme.Name {
			assert.Contains(t, links, p.Name)
		}
	}
}

// TestReadmeIsShort: at most 500 words, and one picture.
func TestReadmeIsShort(t *testing.T) {
	readme, err := Read("README.md")
	require.NoError(t, err)
	require.LessOrEqual(t, len(strings.Fields(string(readme.Text))), 500)
	require.Equal(t, 1, readme.Pictures())
}
