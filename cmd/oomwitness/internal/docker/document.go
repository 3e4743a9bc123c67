package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// bom is UTF-8's byte order mark, which dockerd accepts (getConflictFreeConfiguration
// in daemon/config/config.go of Docker 23 and later).
var bom = []byte("\xef\xbb\xbf")

// document is the text of a daemon.json with the positions of its members: an edit changes the
// bytes of one member alone.
type document struct {
	text []byte
	root object
}

// object is a JSON object: the offsets of its braces and its members in order.
type object struct {
	open, end int
	members   []member
}

// member is one key with its value. The offsets are those of the key's first byte, the value's
// first byte and the byte after the value.
type member struct {
	key                         string
	start, value, end           int
	precedingSpace, indentation string
}

// parse parses a daemon.json. As for dockerd, a text without any value means an empty object.
// Errors name the line.
func parse(text []byte) (document, error) {
	d := document{text: text}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return d, errors.New("line 1: the encoding is UTF-16: convert the file to UTF-8")
	}
	if !utf8.Valid(text) {
		return d, errors.New("the text is not valid UTF-8")
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(text, bom))) == 0 {
		d.text = append(bytes.Clone(bom[:len(text)-len(bytes.TrimPrefix(text, bom))]), "{}\n"...)
	}
	start := len(d.text) - len(bytes.TrimPrefix(d.text, bom))
	var whole json.RawMessage
	if err := json.Unmarshal(d.text[start:], &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return d, d.errorAt(start+int(syntax.Offset)-1, "invalid JSON: %w", err)
		}
		return d, fmt.Errorf("invalid JSON: %w", err)
	}
	if err := d.unique(json.NewDecoder(bytes.NewReader(d.text[start:])), start); err != nil {
		return d, err
	}
	start += bytes.Index(d.text[start:], whole)
	if d.text[start] != '{' {
		return d, d.errorAt(start, "the value has to be a JSON object, is %s", kind(d.text[start]))
	}
	var err error
	d.root, err = d.object(start)
	return d, err
}

// object reads the members of the object whose opening brace is at offset start.
func (d document) object(start int) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(d.text[start:]))
	at := func() int { return start + int(decoder.InputOffset()) }
	o := object{open: start}
	if _, err := decoder.Token(); err != nil {
		return o, err
	}
	for decoder.More() {
		var m member
		previous := at()
		m.start = previous + bytes.IndexByte(d.text[previous:], '"')
		key, err := decoder.Token()
		if err != nil {
			return o, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return o, err
		}
		m.key, _ = key.(string)
		m.end = at()
		m.value = m.end - len(value)
		space := d.text[len(bytes.TrimRight(d.text[:m.start], " \t\r\n")):m.start]
		m.precedingSpace = string(space)
		m.indentation = string(space[bytes.LastIndexByte(space, '\n')+1:])
		o.members = append(o.members, m)
	}
	if _, err := decoder.Token(); err != nil {
		return o, err
	}
	o.end = at() - 1
	return o, nil
}

// unique refuses a key that an object has twice: dockerd takes the last one, and an edit could
// change the other.
func (d document) unique(decoder *json.Decoder, start int) error {
	token, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	delim, _ := token.(json.Delim)
	if delim != '{' && delim != '[' {
		return nil
	}
	seen := map[string]bool{}
	for decoder.More() {
		if delim == '{' {
			key, err := decoder.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if seen[name] {
				return d.errorAt(start+int(decoder.InputOffset())-1, "the key %q is there twice", name)
			}
			seen[name] = true
		}
		if err := d.unique(decoder, start); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

// find returns the index of the member with a key, -1 if there is none.
func (o object) find(key string) int {
	for i, m := range o.members {
		if m.key == key {
			return i
		}
	}
	return -1
}

// errorAt returns an error that names the line of the byte at offset.
func (d document) errorAt(offset int, format string, args ...any) error {
	line := 1 + bytes.Count(d.text[:max(0, min(offset, len(d.text)))], []byte("\n"))
	return fmt.Errorf("line %d: %w", line, fmt.Errorf(format, args...))
}

// kind returns the JSON type of a value by its first byte.
func kind(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
