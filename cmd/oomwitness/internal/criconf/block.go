package criconf

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxForeign limits the number of lines among which added lines are searched.
const maxForeign = 200

// endOfLine matches one line break.
var endOfLine = regexp.MustCompile(`^\r?\n`)

// Block returns tables between our marks, with a checksum.
func Block(tables []byte) []byte {
	return slices.Concat([]byte(blockBegin+"\n"+sumPrefix+sum(tables)+"\n"), tables, []byte(blockEnd+"\n"))
}

// findBlock returns the position of the block in a file, from the line break before it to the
// end of its last mark. A block without its last mark does not count.
func findBlock(text []byte) (begin, end int, found bool) {
	begin = bytes.Index(text, []byte("\n"+blockBegin))
	if bytes.HasPrefix(text, []byte(blockBegin)) {
		begin = 0
	}
	if begin < 0 {
		return 0, 0, false
	}
	size := bytes.Index(text[begin:], []byte("\n"+blockEnd))
	if size < 0 {
		return 0, 0, false
	}
	return begin, begin + size + len("\n"+blockEnd), true
}

// cutBlock removes the block with the line break before it. A block without its last mark
// stays. Lines after the block stay lines.
func cutBlock(text []byte) []byte {
	begin, end, found := findBlock(text)
	if !found {
		return text
	}
	last := endOfLine.Find(text[end:])
	rest := text[end+len(last):]
	if begin > 0 && text[begin-1] == '\r' {
		begin--
	}
	if begin > 0 && text[begin-1] != '\n' && len(rest) > 0 {
		rest = text[end:]
	}
	return slices.Concat(text[:begin], rest)
}

// blockBody returns the text between the marks of a file's block, with line feeds; "" if there
// is no block.
func blockBody(text []byte) string {
	begin, end, found := findBlock(text)
	if !found {
		return ""
	}
	block := strings.TrimPrefix(strings.ReplaceAll(string(text[begin:end]), "\r\n", "\n"), "\n")
	_, body, _ := strings.Cut(strings.TrimSuffix(block, blockEnd), "\n")
	return body
}

// Foreign returns the lines that were added to the block of a file after install wrote it, nil for
// none. If lines were changed or removed, which cannot be identified, it returns all lines of the
// block, and added is false.
func Foreign(text []byte) (found []string, added bool) {
	if _, _, has := findBlock(text); !has {
		return nil, false
	}
	return foreign(blockBody(text))
}

// DropinForeign is like Foreign, for our drop-in.
func DropinForeign(text []byte) (found []string, added bool) {
	if !Altered(text) {
		return nil, false
	}
	if _, body, has := strings.Cut(string(text), sumPrefix); has {
		if found, added := foreign(sumPrefix + body); found != nil {
			return found, added
		}
	}
	return lines(string(text)), false
}

// foreign returns the lines whose removal makes the checksum in the text's first line right
// again.
func foreign(text string) (found []string, added bool) {
	head, body, _ := strings.Cut(text, "\n")
	want, has := strings.CutPrefix(head, sumPrefix)
	if !has {
		return lines(text), false
	}
	if want == sum([]byte(body)) {
		return nil, false
	}
	all := strings.SplitAfter(body, "\n")
	if len(all) > maxForeign {
		return lines(body), false
	}
	for size := 1; size < len(all); size++ {
		for from := 0; from+size <= len(all); from++ {
			rest := strings.Join(all[:from], "") + strings.Join(all[from+size:], "")
			if want == sum([]byte(rest)) {
				return lines(strings.Join(all[from:from+size], "")), true
			}
		}
	}
	return lines(body), false
}

func lines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// Registers returns the runtime handlers in a drop-in of ours, or in the block of a file: those
// that start the shim, and those that are kept beside them.
func Registers(text []byte) (ours, kept []string) {
	body := blockBody(text)
	if Ours(text) {
		body = string(text)
	}
	file, err := Parse("", []byte(body))
	if err != nil {
		return nil, nil
	}
	for name := range file.Runtimes {
		if path.Base(file.ShimPath(name)) == ShimName {
			ours = append(ours, name)
		} else {
			kept = append(kept, name)
		}
	}
	return ours, kept
}
