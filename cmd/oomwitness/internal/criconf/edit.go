package criconf

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Marks around what install adds to a file of the node's owner. By them Cut removes exactly
// that.
const (
	blockBegin = `# >>> oomwitness: written by "oomwitness install --edit-config", removed by "oomwitness uninstall" >>>`
	blockEnd   = "# <<< oomwitness <<<"
	lineMark   = `# line added by "oomwitness install --edit-config"`
	entryMark  = `# entry added by "oomwitness install --edit-config"`
	// createdMark is the first line of a main file that install created.
	createdMark = `# Created by "oomwitness install --edit-config", since there was none.`
)

// The edits of imports as they stand in a file, each with the line breaks that it added. A line
// that somebody else has changed does not match.
var (
	addedLine  = regexp.MustCompile(`(?m)^imports = \["[^"\n]*"\] ` + regexp.QuoteMeta(lineMark) + `\r?\n`)
	addedEntry = regexp.MustCompile(`\r?\n  "[^"\n]*", ` + regexp.QuoteMeta(entryMark) + `\r?\n`)
)

// byteOrderMark may begin a file for containerd 1.x.
var byteOrderMark = []byte("\xef\xbb\xbf")

// Cut returns a file without the edits of install: byte for byte the file before. cut reports
// whether there was an edit.
func Cut(text []byte) (rest []byte, cut bool, err error) {
	rest = cutBlock(text)
	rest = addedLine.ReplaceAllLiteral(rest, nil)
	rest = addedEntry.ReplaceAllLiteral(rest, nil)
	for _, mark := range []string{blockBegin, blockEnd, lineMark, entryMark} {
		if bytes.Contains(rest, []byte(mark)) {
			return text, false, fmt.Errorf("an edit of oomwitness install was altered: take out what belongs to this line by hand: %s", mark)
		}
	}
	return rest, len(rest) != len(text), nil
}

// AppendBlock returns the file with our tables in a marked block at its end, with the line
// breaks of the file.
func AppendBlock(text, tables []byte) ([]byte, error) {
	nl := lineBreak(text)
	// The first line break ends an unfinished last line, or is an empty line.
	return undoable(text, slices.Concat(text, nl, bytes.ReplaceAll(Block(tables), []byte("\n"), nl)))
}

// AddImport returns the file with a pattern added to its imports.
func AddImport(text []byte, pattern string) ([]byte, error) {
	if bytes.HasPrefix(text, byteOrderMark) {
		return nil, errors.New("it begins with a byte order mark")
	}
	nl := string(lineBreak(text))
	at, found, err := importsList(text)
	if err != nil {
		return nil, err
	}
	add := fmt.Sprintf("%s  %q, %s%s", nl, pattern, entryMark, nl)
	if !found {
		add = fmt.Sprintf("imports = [%q] %s%s", pattern, lineMark, nl)
	}
	return undoable(text, slices.Concat(text[:at], []byte(add), text[at:]))
}

// undoable returns the edited file if Cut restores the original from it.
func undoable(text, edited []byte) ([]byte, error) {
	rest, _, err := Cut(edited)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(rest, text) {
		return nil, errors.New("the edit could not be undone byte for byte")
	}
	return edited, nil
}

// NewMain returns the text of a main file that install creates.
func NewMain(version int) []byte {
	return fmt.Appendf(nil, "%s\nversion = %d\n", createdMark, version)
}

// copied begins a file that install made as a copy of a read-only file.
const copied = `# Created by "oomwitness install --edit-config" as a copy of `

// NewCopy returns the text of a copy that install makes of a file.
func NewCopy(of string, text []byte) []byte {
	return fmt.Appendf(nil, "%s%s, sha256 %s\n%s", copied, of, sum(text), text)
}

// CopyOf returns the path of the original of a copy, "" if the file is no copy, and reports
// whether the copy is unaltered. The edits must be cut before.
func CopyOf(text []byte) (of string, unaltered bool) {
	head, body, _ := bytes.Cut(text, []byte("\n"))
	line, found := strings.CutPrefix(string(head), copied)
	of, want, complete := strings.Cut(line, ", sha256 ")
	if !found || !complete {
		return "", false
	}
	return of, want == sum(body)
}

// Created reports whether a file without edits is an unaltered file that install created: one
// of NewMain, a copy, or a template.
func Created(text []byte) bool {
	for version := 2; version <= defaultVersion; version++ {
		if bytes.Equal(text, NewMain(version)) {
			return true
		}
	}
	_, unaltered := CopyOf(text)
	return unaltered || string(text) == templateCreated
}

// lineBreak returns the last line break of a file, "
// " if it has none.
func lineBreak(text []byte) []byte {
	if at := bytes.LastIndexByte(text, '\n'); at > 0 && text[at-1] == '\r' {
		return []byte("\r\n")
	}
	return []byte("\n")
}

// importsList returns the position after the bracket that opens the list of the top-level key
// imports.
func importsList(text []byte) (at int, found bool, err error) {
	var parser unstable.Parser
	parser.Reset(text)
	for parser.NextExpression() {
		node := parser.Expression()
		if node.Kind != unstable.KeyValue {
			break // the first table ends the top level
		}
		key := node.Key()
		if !key.Next() || !strings.EqualFold(string(key.Node().Data), "imports") || !key.IsLast() {
			continue
		}
		if name := string(key.Node().Data); name != "imports" { // containerd takes any case, and the last one counts
			return 0, false, fmt.Errorf("the key imports is written %s: write it in small letters", name)
		}
		after := int(key.Node().Raw.Offset + key.Node().Raw.Length)
		between := openList.Find(text[after:])
		if between == nil {
			return 0, false, errors.New("imports is not a list")
		}
		return after + len(between), true, nil
	}
	return 0, false, parser.Error()
}

// openList matches what stands between a key and the first entry of its list.
var openList = regexp.MustCompile(`^[ \t]*=[ \t]*\[`)
