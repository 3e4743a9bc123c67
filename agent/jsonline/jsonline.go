// Package jsonline appends to JSON what encoding/json would write, byte for byte,
// for what is written at each kill: without reflection, and into a buffer that is
// there.
package jsonline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Key begins a field of an object whose brace is open.
func Key(b []byte, key string) []byte {
	if n := len(b); n > 0 && b[n-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

// Text appends a string.
func Text(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // no string has one
			}
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Number appends a number.
func Number(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

// Time appends a time. An error says that JSON has no such year or zone.
func Time(b []byte, t time.Time) ([]byte, error) {
	b = append(b, '"')
	b, err := t.AppendText(b)
	if err != nil {
		return b, fmt.Errorf("time in JSON: %w", err)
	}
	return append(b, '"'), nil
}

// String is a field.
func String(b []byte, key, s string) []byte { return Text(Key(b, key), s) }

// Optional is a field that is left out where it is empty.
func Optional(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return String(b, key, s)
}

// Uint is a field.
func Uint(b []byte, key string, n uint64) []byte { return Number(Key(b, key), n) }

// Int is a field.
func Int(b []byte, key string, n int64) []byte { return strconv.AppendInt(Key(b, key), n, 10) }

// Bool is a field.
func Bool(b []byte, key string, yes bool) []byte { return strconv.AppendBool(Key(b, key), yes) }

// Maybe is a field that is null without a number.
func Maybe(b []byte, key string, n *uint64) []byte {
	if n == nil {
		return append(Key(b, key), "null"...)
	}
	return Uint(b, key, *n)
}
