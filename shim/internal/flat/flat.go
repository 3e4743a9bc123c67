// Package flat reads TOML documents that are one flat table: keys with strings,
// booleans, integers and lists of strings. The parser is go-toml's. Its decoder, which
// goes by reflection, would be 200 KB more in every shim.
package flat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Decode sets the targets that a document has keys for: pointers to string, bool,
// uint32 or []string, by key. A key is found in any case, as go-toml's decoder finds
// the fields of a struct. Decode returns the line of each key that was set, counted
// from 1.
//
// An error begins with the line and names the key. Unknown keys are errors: a misspelt
// key must not pass for one that was set. known lists the keys for that error.
func Decode(data []byte, known string, targets map[string]any) (lines map[string]int, err error) {
	var p unstable.Parser
	p.Reset(data)
	lines = map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		line, name := place(&p, e)
		key, target := find(targets, name)
		switch {
		case target == nil || e.Kind != unstable.KeyValue:
			return nil, fmt.Errorf("%d: %s: unknown key; known: %s", line, name, known)
		case lines[key] != 0:
			return nil, fmt.Errorf("%d: %s: set on line %d already", line, name, lines[key])
		}
		if err := set(target, e.Value()); err != nil {
			return nil, fmt.Errorf("%d: %s: %w", line, name, err)
		}
		lines[key] = line
	}
	if err := p.Error(); err != nil {
		return nil, explain(&p, err)
	}
	return lines, nil
}

// place returns the line of an expression and its key, the parts of which are joined
// by dots.
func place(p *unstable.Parser, e *unstable.Node) (line int, name string) {
	var parts []string
	for it := e.Key(); it.Next(); {
		if line == 0 {
			line = p.Shape(it.Node().Raw).Start.Line
		}
		parts = append(parts, string(it.Node().Data))
	}
	return line, strings.Join(parts, ".")
}

// find returns the target of a key and the name under which it is known.
func find(targets map[string]any, name string) (key string, target any) {
	if target, ok := targets[name]; ok {
		return name, target
	}
	for key, target := range targets {
		if strings.EqualFold(key, name) {
			return key, target
		}
	}
	return "", nil
}

func set(target any, value *unstable.Node) error {
	switch target := target.(type) {
	case *string:
		if value.Kind != unstable.String {
			return wrong(value, "a string")
		}
		*target = string(value.Data)
	case *bool:
		if value.Kind != unstable.Bool {
			return wrong(value, "true or false")
		}
		*target = value.Data[0] == 't'
	case *uint32:
		n, err := integer(value)
		if err != nil {
			return err
		}
		*target = n
	case *[]string:
		if value.Kind != unstable.Array {
			return wrong(value, "a list of strings")
		}
		list := []string{}
		for it := value.Children(); it.Next(); {
			if it.Node().Kind != unstable.String {
				return wrong(it.Node(), "a list of strings")
			}
			list = append(list, string(it.Node().Data))
		}
		*target = list
	}
	return nil
}

// integer reads an integer of TOML: decimal, or with 0x, 0o or 0b.
func integer(value *unstable.Node) (uint32, error) {
	const allowed = "an integer from 0 to 4294967295"
	text := string(value.Data)
	if value.Kind != unstable.Integer {
		return 0, wrong(value, allowed)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 0, 32)
	if digits := strings.TrimLeft(text, "+-"); err != nil || len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return 0, fmt.Errorf("%s; allowed: %s", text, allowed)
	}
	return uint32(n), nil
}

func wrong(value *unstable.Node, allowed string) error {
	return fmt.Errorf("%v value; allowed: %s", value.Kind, allowed)
}

// explain returns an error of the parser with its line.
func explain(p *unstable.Parser, err error) error {
	line := 1
	var bad *unstable.ParserError
	if errors.As(err, &bad) && len(bad.Highlight) > 0 {
		line = p.Shape(p.Range(bad.Highlight)).Start.Line
	}
	return fmt.Errorf("%d: %w", line, err)
}
