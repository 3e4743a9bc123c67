package bpf

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
)

// TestRelocationsOffline resolves every CO-RE relocation against the BTF of
// other kernels, given as files: BTF_FILES is a glob. The programs are loaded into this kernel,
// which looks at the code alone and not at whose offsets are in it. fentry and
// fexit stay out, since they need the functions of the kernel that loads them;
// their relocations are those of the kprobes.
func TestRelocationsOffline(t *testing.T) {
	glob := os.Getenv("BTF_FILES")
	if glob == "" || os.Getuid() != 0 {
		t.Skip("needs root and the BTF of other kernels, as /sys/kernel/btf/vmlinux gives it: BTF_FILES='folder/*'")
	}
	files, err := filepath.Glob(glob)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			kernel, err := btf.LoadSpec(file)
			require.NoError(t, err)
			shape, err := markVictimShape(kernel)
			require.NoError(t, err)
			t.Log("its mark_victim is that of", shape)
			for _, object := range []string{"ledger_x86_bpfel.o", "ledger_arm64_bpfel.o"} {
				relocate(t, object, kernel, len(TierB.hooks(shape))+3)
			}
		})
	}
}

func relocate(t *testing.T, object string, kernel *btf.Spec, programs int) {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(object)
	require.NoError(t, err)
	maps.DeleteFunc(spec.Programs, func(_ string, p *ebpf.ProgramSpec) bool { return p.Type == ebpf.Tracing })
	require.Len(t, spec.Programs, programs)
	for _, hierarchy := range []uint32{1, 2} {
		spec := spec.Copy()
		require.NoError(t, spec.Variables["hierarchy"].Set(hierarchy))
		for _, constant := range variables { // so that no code is left out
			require.NoError(t, spec.Variables[constant].Set(uint64(1)))
		}
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
			Programs: ebpf.ProgramOptions{KernelTypes: kernel},
		})
		require.NoError(t, err, "%s, cgroup v%d", object, hierarchy)
		coll.Close()
	}
}
