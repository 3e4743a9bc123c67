package documents

import (
	"regexp"
	"strings"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
)

// Sentence is a sentence of a page.
type Sentence struct {
	Page string
	Line int // where its paragraph begins
	Text string
}

// code stands for inline code in a sentence: a noun.
const code = "Code"

// sentenceEnd is where a sentence ends, and the next one begins.
var sentenceEnd = regexp.MustCompile(`[.:!?]["”)]? +|[.:!?]["”)]?$`)

// smallNames are names that begin a sentence with a small letter.
var smallNames = regexp.MustCompile(`^(?:containerd|dockerd|kubelet|kubectl|systemd|oomwitness|nodeadm|runc|runsc|eBPF|faults)`)

// fewestWords are those of the shortest sentence. Shorter texts, and texts without an end,
// are titles and cells.
const fewestWords = 4

// Sentences returns the sentences of the page's paragraphs, lists and tables.
func (p Page) Sentences() (found []Sentence) {
	p.each(func(n ast.Node) {
		switch n.Kind() {
		case ast.KindParagraph, ast.KindTextBlock, extast.KindTableCell:
			text := p.spoken(n)
			line := 1 + strings.Count(string(p.Text[:start(n)]), "\n")
			for _, one := range split(text) {
				found = append(found, Sentence{p.Name, line, one})
			}
		}
	})
	return found
}

// start returns where the source of a node begins.
func start(n ast.Node) int {
	if lines := n.Lines(); lines != nil && lines.Len() > 0 {
		return lines.At(0).Start
	}
	return 0
}

// spoken returns the text of a node as somebody reads it aloud.
func (p Page) spoken(n ast.Node) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.CodeSpan:
			b.WriteString(code)
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			b.Write(n.Value(p.Text))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(b.String()), " ")
}

// split returns the sentences of a text.
func split(text string) (found []string) {
	for text != "" {
		end := sentenceEnd.FindStringIndex(text)
		for end != nil && !ends(text, end) {
			next := sentenceEnd.FindStringIndex(text[end[1]:])
			if next == nil {
				end = nil
				break
			}
			end = []int{end[1] + next[0], end[1] + next[1]}
		}
		one := text
		if end != nil {
			one, text = text[:end[1]], text[end[1]:]
		} else {
			text = ""
		}
		one = strings.TrimSpace(one)
		if whole := strings.ContainsAny(one[max(len(one)-2, 0):], ".?!:"); whole && len(strings.Fields(one)) >= fewestWords {
			found = append(found, one)
		}
	}
	return found
}

// ends reports whether a sentence ends there: not behind a colon, and not ahead of a small
// letter.
func ends(text string, at []int) bool {
	if at[1] == len(text) {
		return true
	}
	next := text[at[1]]
	return text[at[0]] != ':' && (next < 'a' || next > 'z' || smallNames.MatchString(text[at[1]:]))
}
