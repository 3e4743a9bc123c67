package pinned_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

type (
	key   struct{ A, B uint32 }
	value struct{ X, Y, Z uint64 }
)

const room = 1000

// made makes a map by github.com/cilium/ebpf and returns it as both see it.
func made(t *testing.T, kind ebpf.MapType, keySize, valueSize uint32) (*ebpf.Map, *pinned.Map) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make BPF maps")
	}
	theirs, err := ebpf.NewMap(&ebpf.MapSpec{Type: kind, KeySize: keySize, ValueSize: valueSize, MaxEntries: room})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, theirs.Close()) })
	fd, err := unix.Dup(theirs.FD())
	require.NoError(t, err)
	ours, err := pinned.New(fd)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ours.Close()) })
	require.EqualValues(t, []uint32{uint32(kind), keySize, valueSize, room},
		[]uint32{uint32(ours.Kind), ours.KeySize, ours.ValueSize, ours.MaxEntries})
	return theirs, ours
}

// TestEntries compares each command with what github.com/cilium/ebpf finds.
func TestEntries(t *testing.T) {
	theirs, ours := made(t, ebpf.Hash, 8, 24)
	k, v := key{1, 2}, value{3, 4, 5}
	var got value
	require.ErrorIs(t, pinned.Lookup(ours, &k, &got), unix.ENOENT)
	require.ErrorIs(t, pinned.Delete(ours, &k), unix.ENOENT)
	require.NoError(t, pinned.Insert(ours, &k, &v))
	require.ErrorIs(t, pinned.Insert(ours, &k, &v), unix.EEXIST)
	require.NoError(t, theirs.Lookup(&k, &got))
	require.Equal(t, v, got)
	got = value{}
	require.NoError(t, pinned.Lookup(ours, &k, &got))
	require.Equal(t, v, got)
	require.NoError(t, pinned.Delete(ours, &k))
	require.ErrorIs(t, theirs.Lookup(&k, &got), ebpf.ErrKeyNotExist)
	for i := range uint32(room) {
		require.NoError(t, pinned.Insert(ours, &key{i, i}, &v))
	}
	require.ErrorIs(t, pinned.Insert(ours, &key{room, 0}, &v), unix.E2BIG)
}

// TestSizes: the kernel never gets a buffer of another size than the map's.
func TestSizes(t *testing.T) {
	_, ours := made(t, ebpf.Hash, 8, 24)
	k, v := key{1, 2}, value{3, 4, 5}
	short, small := uint32(1), uint64(1)
	ignore := func(uint32, value) {}
	for name, err := range map[string]error{
		"key":    pinned.Lookup(ours, &short, &v),
		"value":  pinned.Lookup(ours, &k, &small),
		"insert": pinned.Insert(ours, &k, &small),
		"delete": pinned.Delete(ours, &short),
		"each":   pinned.Each(ours, ignore),
	} {
		require.ErrorContains(t, err, "the map has 8 and 24", name)
	}
	_, err := ours.LookupBytes(1)
	require.ErrorContains(t, err, "key of 4 bytes")
}

func TestArray(t *testing.T) {
	theirs, ours := made(t, ebpf.Array, 4, 20)
	want := make([]byte, 20)
	binary.NativeEndian.PutUint64(want[12:], 7)
	require.NoError(t, theirs.Put(uint32(3), want))
	got, err := ours.LookupBytes(3)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = ours.LookupBytes(room)
	require.ErrorIs(t, err, unix.ENOENT)
}

// TestEach: every entry once, none of an empty map, also where each entry is removed as
// soon as it was seen, and where the kernel is called more than once.
func TestEach(t *testing.T) {
	theirs, ours := made(t, ebpf.Hash, 8, 24)
	seen := map[key]value{}
	see := func(k key, v value) { seen[k] = v }
	require.NoError(t, pinned.Each(ours, see))
	require.Empty(t, seen)
	for i := range uint32(room) {
		require.NoError(t, theirs.Put(&key{i, 9}, &value{X: uint64(i)}))
	}
	require.NoError(t, pinned.Each(ours, see))
	require.Len(t, seen, room)
	require.EqualValues(t, 5, seen[key{5, 9}].X)
	removed := 0
	require.NoError(t, pinned.Each(ours, func(k key, _ value) {
		require.NoError(t, theirs.Delete(&k))
		removed++
	}))
	require.Equal(t, room, removed)
}

// TestOpen opens a pin for reading alone and for writing, and refuses what is none.
func TestOpen(t *testing.T) {
	theirs, _ := made(t, ebpf.Hash, 8, 24)
	dir := t.TempDir()
	require.NoError(t, unix.Mount("bpf", dir, "bpf", 0, "mode=0700"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	path := filepath.Join(dir, "map")
	require.NoError(t, theirs.Pin(path))
	k, v := key{1, 2}, value{3, 4, 5}
	reader, err := pinned.Open(path, pinned.ReadOnly)
	require.NoError(t, err)
	require.ErrorIs(t, pinned.Insert(reader, &k, &v), unix.EPERM)
	writer, err := pinned.Open(path, pinned.ReadWrite)
	require.NoError(t, err)
	require.NoError(t, pinned.Insert(writer, &k, &v))
	require.NoError(t, pinned.Lookup(reader, &k, &v))
	require.NoError(t, errors.Join(reader.Close(), writer.Close()))
	require.ErrorIs(t, reader.Close(), os.ErrClosed)
	require.ErrorIs(t, pinned.Lookup(reader, &k, &v), unix.EBADF)

	_, err = pinned.Open(path+"2", pinned.ReadOnly)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = pinned.Open("/proc/self/exe", pinned.ReadOnly)
	require.Error(t, err)
	_, err = pinned.Open("a\x00b", pinned.ReadOnly)
	require.ErrorContains(t, err, `"a\x00b"`)
}

// TestDecode compares values with encoding/binary's, for whole, shorter and longer bytes.
func TestDecode(t *testing.T) {
	for _, size := range []int{0, 1, 8, 20, 24, 40} {
		raw := make([]byte, size)
		for i := range raw {
			raw[i] = byte(i + 1)
		}
		var want value
		whole := make([]byte, size+24)
		copy(whole, raw)
		_, err := binary.Decode(whole, binary.NativeEndian, &want)
		require.NoError(t, err)
		require.Equal(t, want, pinned.Decode[value](raw), "%d bytes", size)
	}
}
