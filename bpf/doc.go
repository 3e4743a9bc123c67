// Package bpf is the ledger: the kernel's own record of every OOM kill, kept by
// small eBPF programs whose links and maps are pinned, so that no process needs
// to be alive for it.
//
// [Load] makes sure of a ledger, [Unload] takes it away. [Open] reads one: was
// this process killed by the OOM killer ([Ledger.Task]), and what was killed in
// this cgroup ([Ledger.Cgroup]). [NewSource] is the same as evidence for a
// container's verdict. [NewReader] returns every record as it happens.
//
// The programs come in tiers, the best that the kernel takes: see [Tier].
package bpf
