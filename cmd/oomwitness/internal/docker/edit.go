package docker

import (
	"bytes"
	"encoding/json"
	"strings"
)

// defaultIndent is the indentation for a file that has no indented line.
const defaultIndent = "  "

// splice returns the text with the bytes from start to end replaced.
func (d document) splice(start, end int, with string) []byte {
	out := make([]byte, 0, len(d.text)-(end-start)+len(with))
	out = append(out, d.text[:start]...)
	out = append(out, with...)
	return append(out, d.text[end:]...)
}

// set returns the text with the member key of o changed to value. A new member goes after the
// last member, in that member's layout.
func (d document) set(o object, key string, value any) []byte {
	if i := o.find(key); i >= 0 {
		m := o.members[i]
		return d.splice(m.value, m.end, d.render(value, m.indentation, d.multiline(m)))
	}
	if n := len(o.members); n > 0 {
		last := o.members[n-1]
		return d.splice(last.end, last.end,
			","+last.precedingSpace+d.renderMember(key, value, last.indentation, d.multiline(last)))
	}
	if o.open != d.root.open && !bytes.Contains(d.text[:o.end], []byte("\n")) {
		return d.splice(o.open+1, o.end, d.renderMember(key, value, "", false))
	}
	outer := d.lineIndent(o.open)
	inner := outer + d.unit()
	return d.splice(o.open+1, o.end,
		d.newline()+inner+d.renderMember(key, value, inner, true)+d.newline()+outer)
}

// remove returns the text without the i-th member of o.
func (d document) remove(o object, i int) []byte {
	switch m := o.members[i]; {
	case len(o.members) == 1:
		return d.splice(o.open+1, o.end, "")
	case i == 0:
		return d.splice(m.start, o.members[1].start, "")
	default:
		return d.splice(o.members[i-1].end, m.end, "")
	}
}

// multiline reports whether m begins on a line of its own.
func (d document) multiline(m member) bool { return strings.Contains(m.precedingSpace, "\n") }

// newline returns the line break of the text.
func (d document) newline() string {
	if bytes.Contains(d.text, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// unit returns the text's indentation of one level.
func (d document) unit() string {
	if len(d.root.members) > 0 && d.root.members[0].indentation != "" && d.multiline(d.root.members[0]) {
		return d.root.members[0].indentation
	}
	return defaultIndent
}

// lineIndent returns the white space at the begin of the line with the byte at offset.
func (d document) lineIndent(offset int) string {
	line := d.text[bytes.LastIndexByte(d.text[:offset], '\n')+1 : offset]
	line = bytes.TrimPrefix(line, bom)
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func (d document) renderMember(key string, value any, indent string, multiline bool) string {
	return d.render(key, "", false) + ": " + d.render(value, indent, multiline)
}

// render returns value as JSON, over several lines if multiline is true.
func (d document) render(value any, indent string, multiline bool) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if multiline {
		encoder.SetIndent(indent, d.unit())
	}
	// Encode cannot fail: value has strings and maps of strings alone.
	_ = encoder.Encode(value)
	return strings.ReplaceAll(strings.TrimSuffix(out.String(), "\n"), "\n", d.newline())
}
