package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 2*MaxPayload/10)
	var stream bytes.Buffer
	for _, payload := range [][]byte{nil, []byte("x"), big} {
		if err := Write(&stream, Stdout, payload); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	for {
		kind, payload, err := Read(&stream)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if kind != Stdout {
			t.Fatalf("kind %q", kind)
		}
		got = append(got, payload...)
	}
	if want := append([]byte("x"), big...); !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, want %d", len(got), len(want))
	}
}

func TestReadRejects(t *testing.T) {
	for name, stream := range map[string]string{
		"cut header":  "o\x00",
		"cut payload": "o\x00\x00\x00\x02x",
		"too long":    "o\xff\x00\x00\x02x",
	} {
		if _, _, err := Read(bytes.NewBufferString(stream)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
