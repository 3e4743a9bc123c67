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
	"golang.org/x/net/html"
)

// sitePage is a page of the built site.
type sitePage struct {
	links    []string // href and src
	anchors  []string // id
	headings int      // of the first level
}

// TestSite follows each link within the site that "make site" has built: file and anchor must
// exist. Each page of the repository must be in the site, with a first heading.
func TestSite(t *testing.T) {
	dir := os.Getenv("SITE")
	if dir == "" {
		t.Skip("needs the built site in $SITE: make site")
	}
	site := readSite(t, dir)
	for _, p := range pages(t) {
		name := strings.ToLower(strings.TrimSuffix(path.Base(p.Name), ".md")) + ".html"
		if p.Name == "README.md" {
			name = "index.html"
		}
		assert.Contains(t, site, name)
		assert.Contains(t, site["index.html"].links, "./"+name)
	}
	for name, page := range site {
		assert.Equal(t, 1, page.headings, "first headings of %s", name)
		for _, link := range page.links {
			assert.Empty(t, brokenInSite(dir, site, name, link), "%s: %s", name, link)
		}
	}
	for _, link := range []string{"./none.html", "./ledger.html#none", "#none", "../outside.html"} {
		require.NotEmpty(t, brokenInSite(dir, site, "index.html", link), "the check finds %s", link)
	}
}

// brokenInSite returns what is wrong with a link of a page, "" for nothing.
func brokenInSite(dir string, site map[string]sitePage, from, link string) string {
	to, err := url.Parse(link)
	switch {
	case err != nil:
		return err.Error()
	case to.Scheme == "https":
		return ""
	case to.Scheme != "" || to.Host != "":
		return "neither https nor of the site"
	}
	name := from
	if to.Path != "" {
		name = path.Join(path.Dir(from), to.Path)
	}
	if !filepath.IsLocal(name) {
		return "leaves the site"
	}
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		return "no such file"
	}
	if to.Fragment != "" && !slices.Contains(site[name].anchors, to.Fragment) {
		return "no such anchor"
	}
	return ""
}

func readSite(t *testing.T, dir string) map[string]sitePage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.html"))
	require.NoError(t, err)
	site := make(map[string]sitePage, len(files))
	for _, file := range files {
		text, err := os.Open(file)
		require.NoError(t, err)
		tree, err := html.Parse(text)
		require.NoError(t, err)
		require.NoError(t, text.Close())
		var page sitePage
		for n := range tree.Descendants() {
			if n.Data == "h1" {
				page.headings++
			}
			for _, a := range n.Attr {
				switch a.Key {
				case "href", "src":
					page.links = append(page.links, a.Val)
				case "id":
					page.anchors = append(page.anchors, a.Val)
				}
			}
		}
		site[filepath.Base(file)] = page
	}
	return site
}
