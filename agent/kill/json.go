package kill

import "github.com/oomwitness/oomwitness/agent/jsonline"

// The AppendJSON of a type appends what json.Marshal returns for it. Those types that
// others embed have a function, which is not handed on.

// AppendProcess appends what json.Marshal returns for a Process.
func AppendProcess(b []byte, p *Process) []byte {
	return append(appendProcessFields(append(b, '{'), p), '}')
}

func appendProcessFields(b []byte, p *Process) []byte {
	b = jsonline.Uint(b, "pid", uint64(p.PID))
	b = jsonline.Uint(b, "tid", uint64(p.TID))
	return jsonline.String(b, "comm", p.Comm)
}

// AppendVictimFields appends the fields of a Victim to an object whose brace is open.
func AppendVictimFields(b []byte, v *Victim) []byte {
	b = appendProcessFields(b, &v.Process)
	b = jsonline.Uint(b, "start_ticks", v.StartTicks)
	b = jsonline.Uint(b, "uid", uint64(v.UID))
	b = jsonline.Int(b, "oom_score_adj", int64(v.OOMScoreAdj))
	b = jsonline.Bool(b, "init", v.Init)
	b = jsonline.Bool(b, "shared_memory", v.SharedMemory)
	return jsonline.Bool(b, "oom_group", v.OOMGroup)
}

// AppendJSON of a Memory.
func (m *Memory) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = jsonline.Maybe(b, "rss_bytes", m.RSS)
	b = jsonline.Maybe(b, "anon_bytes", m.Anon)
	b = jsonline.Maybe(b, "file_bytes", m.File)
	b = jsonline.Maybe(b, "shmem_bytes", m.Shmem)
	b = jsonline.Uint(b, "page_tables_bytes", m.PageTables)
	b = jsonline.Uint(b, "total_vm_bytes", m.TotalVM)
	return append(b, '}')
}

// AppendJSON of a Cgroup.
func (c *Cgroup) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = jsonline.Uint(b, "id", c.ID)
	b = jsonline.String(b, "path", c.Path)
	b = jsonline.Optional(b, "ancestor", c.Ancestor)
	return append(b, '}')
}

// AppendJSON of a Domain, null of none.
func (d *Domain) AppendJSON(b []byte) []byte {
	if d == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	b = jsonline.String(b, "constraint", d.Constraint)
	b = jsonline.Uint(b, "id", d.ID)
	b = jsonline.String(b, "path", d.Path)
	b = jsonline.Uint(b, "size_bytes", d.Size)
	b = jsonline.Int(b, "order", int64(d.Order))
	b = jsonline.Int(b, "points", d.Points)
	return append(b, '}')
}

// AppendJSON of a Container, null of none.
func (c *Container) AppendJSON(b []byte) []byte {
	if c == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	b = jsonline.String(b, "id", c.ID)
	b = jsonline.Optional(b, "name", c.Name)
	b = jsonline.Optional(b, "image", c.Image)
	b = jsonline.Optional(b, "namespace", c.Namespace)
	b = jsonline.Optional(b, "kind", c.Kind)
	return append(b, '}')
}

// AppendJSON of a Pod, null of none.
func (p *Pod) AppendJSON(b []byte) []byte {
	if p == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	b = jsonline.Optional(b, "uid", p.UID)
	b = jsonline.Optional(b, "name", p.Name)
	b = jsonline.Optional(b, "namespace", p.Namespace)
	if p.Static {
		b = jsonline.Bool(b, "static", true)
	}
	return append(b, '}')
}
