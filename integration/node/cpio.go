//go:build linux

package node

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// cpio writes an archive in the format "newc", which the kernel unpacks as an initramfs. It
// needs neither a program nor root.
type cpio struct {
	w     io.Writer
	inode int
	err   error // the first one
}

// add writes one entry. A folder must come before its files.
func (c *cpio) add(name string, mode uint32, content []byte) {
	if c.err != nil {
		return
	}
	c.inode++
	var entry bytes.Buffer
	entry.WriteString("070701")
	for _, field := range []uint32{
		uint32(c.inode), mode, 0, 0, 1, 0, uint32(len(content)), 0, 0, 0, 0, uint32(len(name) + 1), 0,
	} {
		fmt.Fprintf(&entry, "%08X", field)
	}
	entry.WriteString(name + "\x00")
	pad(&entry)
	entry.Write(content)
	pad(&entry)
	if _, err := c.w.Write(entry.Bytes()); err != nil {
		c.err = fmt.Errorf("write cpio entry %s: %w", name, err)
	}
}

func (c *cpio) dir(name string)                  { c.add(name, 0o40755, nil) }
func (c *cpio) program(name string, text []byte) { c.add(name, 0o100755, text) }
func (c *cpio) file(name string, text []byte)    { c.add(name, 0o100644, text) }

// close ends the archive and returns the first error.
func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil)
	return c.err
}

func pad(b *bytes.Buffer) {
	if extra := b.Len() % 4; extra != 0 {
		b.WriteString(strings.Repeat("\x00", 4-extra))
	}
}
