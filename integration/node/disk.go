//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// diskKind is the free space of a disk, MiB.
type diskKind int

const (
	readOnlyDisk diskKind = 8
	writableDisk diskKind = 4096
)

// makeDisk makes an ext4 image of a folder without mounting anything. Free
// space costs nothing: the file is sparse.
func makeDisk(ctx context.Context, dir, image string, kind diskKind) error {
	const mib = 1 << 20
	size, err := treeSize(dir)
	if err != nil {
		return err
	}
	// A quarter more is for ext4 itself: inodes, and rounding.
	megabytes := size*5/4/mib + int64(kind)
	_, err = output(ctx, "", nil, "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0",
		"-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,root_owner=0:0",
		"-b", "4096", "-i", "8192", "-d", dir, image, strconv.FormatInt(megabytes, 10)+"M")
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return nil
}

// treeSize returns the space of the files below dir, in bytes of whole blocks.
func treeSize(dir string) (int64, error) {
	const block = 4096
	var size int64
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size += block
		if info.Mode().IsRegular() {
			size += (info.Size() + block - 1) / block * block
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return size, nil
}

// copyFile copies a regular file and its mode, making folders as needed.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// copyTree copies a file, or a folder with its files and links.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if !info.IsDir() {
		return copyFile(from, to)
	}
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return fmt.Errorf("copy %s: %w", name, err)
			}
			return os.Symlink(link, target)
		case entry.Type().IsRegular():
			return copyFile(name, target)
		default:
			return nil
		}
	})
}
