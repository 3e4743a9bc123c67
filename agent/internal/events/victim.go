package events

// Victim is one process that the OOM killer has ended. Its JSON form is that of log,
// journal and API. Pointers are null where there is no such thing, or it is not known.
type Victim struct {
	// Index is its place among the victims of the event, from 0.
	Index uint32 `json:"index"`
	Comm  string `json:"comm"`
	// Init says that it was process 1 of a PID namespace below the node's, as a
	// container's init is.
	Init bool `json:"init"`
	// SharedMemory says that it was not chosen, but shared its memory with one
	// that was.
	SharedMemory bool `json:"shared_memory"`
	// OOMGroup says that memory.oom.group held for its cgroup.
	OOMGroup    bool   `json:"oom_group"`
	OOMScoreAdj int32  `json:"oom_score_adj"`
	Memory      Memory `json:"memory"`
	// Container and Pod are null for a process outside of them. Their names are
	// empty where nobody could be asked in time.
	Container *Container `json:"container"`
	Pod       *Pod       `json:"pod"`

	// What follows is the node's own, see ForOwner.

	IDs    `json:"process,omitzero"`
	Cgroup Cgroup `json:"cgroup,omitzero"`
	// Unit is the systemd unit of a process that is in no pod, and in no container that
	// containerd knows.
	Unit string `json:"unit,omitempty"`
}

// IDs are those of a victim on the node.
type IDs struct {
	PID uint32 `json:"pid"`
	TID uint32 `json:"tid"`
	// StartTicks is field 22 of /proc/PID/stat.
	StartTicks uint64 `json:"start_ticks"`
	UID        uint32 `json:"uid"`
}

// ForOwner returns what the owner of the victim's pod may know of the victim: nothing that
// is the node's own.
func (v Victim) ForOwner() Victim {
	v.IDs, v.Cgroup, v.Unit = IDs{}, Cgroup{}, ""
	return v
}

// Memory is what the victim had, in bytes. RSS and its parts are null where the
// kernel did not say.
type Memory struct {
	RSS        *uint64 `json:"rss_bytes"`
	Anon       *uint64 `json:"anon_bytes"`
	File       *uint64 `json:"file_bytes"`
	Shmem      *uint64 `json:"shmem_bytes"`
	Swap       uint64  `json:"swap_bytes,omitempty"`
	PageTables uint64  `json:"page_tables_bytes"`
	TotalVM    uint64  `json:"total_vm_bytes"`
}

// Cgroup is the victim's. Paths are as Clean has them: whoever makes a cgroup chooses
// its name.
type Cgroup struct {
	// ID is the inode number of its directory.
	ID uint64 `json:"id"`
	// Path is "" where it was removed before anybody saw it; Ancestor is then the
	// nearest cgroup above it that is known.
	Path     string `json:"path"`
	Ancestor string `json:"ancestor,omitempty"`
}

// KubernetesNamespace is CRI's namespace in containerd: the names there are believed.
const KubernetesNamespace = "k8s.io"

// Container is the victim's, by its cgroup's path, and as containerd or
// Kubernetes knows it.
type Container struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Image     string `json:"image,omitempty"`
	Namespace string `json:"namespace,omitempty"` // containerd's
	// Kind is init, sidecar, container or ephemeral, "" where it isn't known.
	Kind string `json:"kind,omitempty"`
}

// Pod is the container's.
type Pod struct {
	// UID is the API object's where Kubernetes was asked: a static pod's mirror's.
	// Its cgroup has another.
	UID       string `json:"uid,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Static says that it comes from the node's own files: the pod of the API
	// server is a mirror.
	Static bool `json:"static,omitempty"`
}
