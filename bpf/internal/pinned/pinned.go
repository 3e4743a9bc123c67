// Package pinned reads maps of eBPF programs that are pinned on a BPF filesystem, by the
// system call bpf(2) alone. Nothing in it loads programs: whoever only reads links neither
// ELF nor BTF.
package pinned

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind is the kernel's type of a map (enum bpf_map_type of include/uapi/linux/bpf.h).
type Kind uint32

// The kinds that a ledger has.
const (
	Hash    Kind = unix.BPF_MAP_TYPE_HASH
	Array   Kind = unix.BPF_MAP_TYPE_ARRAY
	LRUHash Kind = unix.BPF_MAP_TYPE_LRU_HASH
	RingBuf Kind = unix.BPF_MAP_TYPE_RINGBUF
)

// Map is an open map. Its methods may be called concurrently, but not with or after Close.
type Map struct {
	fd int
	// Kind of the map.
	Kind Kind
	// KeySize and ValueSize are in bytes.
	KeySize, ValueSize uint32
	// MaxEntries is how many entries the map has room for.
	MaxEntries uint32
}

// Access is what a map is opened for.
type Access uint32

// The two of them.
const (
	ReadWrite Access = 0
	ReadOnly  Access = unix.BPF_F_RDONLY
)

// Attributes of bpf(2) (union bpf_attr). Pointers have 64 bits, as on all architectures
// that the ledger has objects for.
type (
	objectAttr struct {
		path   unsafe.Pointer
		fd     uint32
		access Access
	}
	infoAttr struct {
		fd   uint32
		size uint32
		info unsafe.Pointer
	}
	elementAttr struct {
		fd    uint32
		_     uint32
		key   unsafe.Pointer
		value unsafe.Pointer
		flags uint64
	}
	batchAttr struct {
		in, out      unsafe.Pointer
		keys, values unsafe.Pointer
		count, fd    uint32
		_, _         uint64
	}
	// mapInfo is the beginning of struct bpf_map_info, the same in every kernel.
	mapInfo struct {
		kind, id, keySize, valueSize, maxEntries, flags uint32
	}
)

// It does not compile where a pointer has other than 64 bits.
var _ [8]byte = [unsafe.Sizeof(uintptr(0))]byte{}

func call(command uintptr, attr unsafe.Pointer, size uintptr) (uintptr, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		switch errno {
		case 0:
			return r, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Open opens the map that is pinned at a path. Errors are those of bpf(2).
func Open(path string, access Access) (*Map, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	attr := objectAttr{path: unsafe.Pointer(name), access: access}
	fd, err := call(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, err
	}
	return New(int(fd))
}

// New returns the map of an open descriptor, and takes the descriptor over.
func New(fd int) (*Map, error) {
	var info mapInfo
	attr := infoAttr{fd: uint32(fd), size: uint32(unsafe.Sizeof(info)), info: unsafe.Pointer(&info)}
	if _, err := call(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &Map{
		fd: fd, Kind: Kind(info.kind), KeySize: info.keySize, ValueSize: info.valueSize, MaxEntries: info.maxEntries,
	}, nil
}

// Close closes the map. What is pinned goes on.
func (m *Map) Close() error {
	if m.fd < 0 {
		return os.ErrClosed
	}
	return unix.Close(m.Release())
}

// Release returns the descriptor, which its caller closes. The map is closed.
func (m *Map) Release() int {
	fd := m.fd
	m.fd = -1
	return fd
}

// element is a command on one entry. Its caller vouches for the sizes.
func (m *Map) element(command uintptr, key, value unsafe.Pointer, flags uint64) error {
	attr := elementAttr{fd: uint32(m.fd), key: key, value: value, flags: flags}
	_, err := call(command, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// fits returns an error for a key or a value of another size than the map's: the kernel
// would read or write beyond them.
func (m *Map) fits(key, value uintptr) error {
	if key != uintptr(m.KeySize) || value != uintptr(m.ValueSize) {
		return fmt.Errorf("key of %d bytes and value of %d, the map has %d and %d", key, value, m.KeySize, m.ValueSize)
	}
	return nil
}

// Lookup copies the value of a key. The error is unix.ENOENT where the map has no such key.
func Lookup[K, V any](m *Map, key *K, value *V) error {
	if err := m.fits(unsafe.Sizeof(*key), unsafe.Sizeof(*value)); err != nil {
		return err
	}
	return m.element(unix.BPF_MAP_LOOKUP_ELEM, unsafe.Pointer(key), unsafe.Pointer(value), 0)
}

// LookupBytes returns a value of an array, whatever the size of the map's values.
func (m *Map) LookupBytes(index uint32) ([]byte, error) {
	value := make([]byte, m.ValueSize)
	if err := m.fits(unsafe.Sizeof(index), max(1, uintptr(m.ValueSize))); err != nil {
		return nil, err
	}
	err := m.element(unix.BPF_MAP_LOOKUP_ELEM, unsafe.Pointer(&index), unsafe.Pointer(&value[0]), 0)
	return value, err
}

// Decode returns the value whose bytes raw has: V must have the layout of the programs'
// type, structs.HostLayout. raw may be shorter or longer, since later ABIs append fields:
// fields that are not there are 0.
func Decode[V any](raw []byte) (value V) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&value)), unsafe.Sizeof(value)), raw)
	return value
}

// Insert enters a key that is not there. The error is unix.EEXIST where it is, and
// unix.E2BIG where the map is full.
func Insert[K, V any](m *Map, key *K, value *V) error {
	if err := m.fits(unsafe.Sizeof(*key), unsafe.Sizeof(*value)); err != nil {
		return err
	}
	return m.element(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(key), unsafe.Pointer(value), unix.BPF_NOEXIST)
}

// Delete removes a key. The error is unix.ENOENT where it is not there.
func Delete[K any](m *Map, key *K) error {
	if err := m.fits(unsafe.Sizeof(*key), uintptr(m.ValueSize)); err != nil {
		return err
	}
	return m.element(unix.BPF_MAP_DELETE_ELEM, unsafe.Pointer(key), nil, 0)
}

// atOnce is how many entries one call of the kernel returns: more than a bucket of a hash
// holds.
const atOnce = 128

// Each calls f with each entry of a hash, in no order. An entry that is there all the time
// is met once.
func Each[K, V any](m *Map, f func(K, V)) error {
	keys, values := make([]K, atOnce), make([]V, atOnce)
	if err := m.fits(unsafe.Sizeof(keys[0]), unsafe.Sizeof(values[0])); err != nil {
		return err
	}
	var in *uint32 // the bucket to go on with
	for {
		attr := batchAttr{
			in: unsafe.Pointer(in), out: unsafe.Pointer(new(uint32)), fd: uint32(m.fd),
			keys: unsafe.Pointer(&keys[0]), values: unsafe.Pointer(&values[0]), count: atOnce,
		}
		_, err := call(unix.BPF_MAP_LOOKUP_BATCH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		end := errors.Is(err, unix.ENOENT) // of the last buckets
		if err != nil && !end {
			return err
		}
		for i := range min(attr.count, atOnce) {
			f(keys[i], values[i])
		}
		if end {
			return nil
		}
		in = (*uint32)(attr.out)
	}
}
