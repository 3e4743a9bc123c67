// Package documents compares the README and the pages of docs/ with the code: links, commands,
// flags, names and words.
package documents

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// Root is the repository's folder, relative to this package's.
const Root = "../.."

// Page is a document as Markdown.
type Page struct {
	Name string // path below Root
	Text []byte
	tree ast.Node
}

// Pages returns the README, CONTRIBUTING and all pages of docs/.
func Pages() ([]Page, error) {
	names, err := filepath.Glob(filepath.Join(Root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	pages := make([]Page, 0, len(names)+2)
	for _, path := range append(names, filepath.Join(Root, "README.md"), filepath.Join(Root, "CONTRIBUTING.md")) {
		name, err := filepath.Rel(Root, path)
		if err != nil {
			return nil, err
		}
		page, err := Read(name)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
	}
	return pages, nil
}

// Read returns one document, by its path below Root.
func Read(name string) (Page, error) {
	content, err := os.ReadFile(filepath.Join(Root, name))
	if err != nil {
		return Page{}, fmt.Errorf("read a document: %w", err)
	}
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	return Page{Name: name, Text: content, tree: md.Parser().Parse(text.NewReader(content))}, nil
}

// each calls visit for every node of the page, parents first.
func (p Page) each(visit func(ast.Node)) {
	_ = ast.Walk(p.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			visit(n)
		}
		return ast.WalkContinue, nil
	})
}

// Links returns the destinations of the page's links and pictures.
func (p Page) Links() (found []string) {
	p.each(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			found = append(found, string(n.Destination))
		case *ast.Image:
			found = append(found, string(n.Destination))
		}
	})
	return found
}

// Pictures returns how many pictures the page shows.
func (p Page) Pictures() (count int) {
	p.each(func(n ast.Node) {
		if n.Kind() == ast.KindImage {
			count++
		}
	})
	return count
}

// Anchors returns the anchors of the page's headings, as GitHub makes them.
func (p Page) Anchors() []string {
	found := map[string]bool{}
	p.each(func(n ast.Node) {
		if heading, is := n.(*ast.Heading); is {
			found[anchor(p.words(heading))] = true
		}
	})
	return slices.Sorted(maps.Keys(found))
}

// anchor is the fragment that GitHub gives a heading: small letters, digits, "-" and "_",
// and "-" for a space.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(heading))
}

// words returns the text of a node without its markup.
func (p Page) words(n ast.Node) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, is := n.(*ast.Text); is && entering {
			b.Write(t.Value(p.Text))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// Spans returns the page's inline code.
func (p Page) Spans() (found []string) {
	p.each(func(n ast.Node) {
		if n.Kind() == ast.KindCodeSpan {
			found = append(found, p.words(n))
		}
	})
	return found
}

// Blocks returns the fenced blocks of a language.
func (p Page) Blocks(language string) (found []string) {
	p.each(func(n ast.Node) {
		if block, is := n.(*ast.FencedCodeBlock); is && string(block.Language(p.Text)) == language {
			found = append(found, string(block.Lines().Value(p.Text)))
		}
	})
	return found
}

// Commands returns what the page's console blocks have behind a prompt. A line that ends
// with a backslash goes on.
func (p Page) Commands() (found []string) {
	for _, block := range p.Blocks("console") {
		more := false
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			switch prompt, command, _ := strings.Cut(line, " "); {
			case more:
				found[len(found)-1] += "\n" + line
			case prompt == "$" || prompt == "#":
				found = append(found, command)
			default:
				continue
			}
			more = strings.HasSuffix(line, "\\")
		}
	}
	return found
}
