package docker_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

const shim = "/usr/local/bin/containerd-shim-oomwitness-v2"

var ours = docker.Runtime{Name: "oomwitness", Shim: shim}

// TestRegister compares the whole file, for each shape of a file.
func TestRegister(t *testing.T) {
	const entry = `{"runtimeType":"` + shim + `"}`
	for name, c := range map[string]struct{ before, after string }{
		"missing": {"", `{
  "runtimes": {
    "oomwitness": {
      "runtimeType": "` + shim + `"
    }
  }
}
`},
		"braces": {"{}\n", `{
  "runtimes": {
    "oomwitness": {
      "runtimeType": "` + shim + `"
    }
  }
}
`},
		"one line":         {`{"debug":true}`, `{"debug":true,"runtimes": {"oomwitness":` + entry + `}}`},
		"one line, spaces": {`{ "debug": true }`, `{ "debug": true, "runtimes": {"oomwitness":` + entry + `} }`},
		"one line, empty runtimes": {
			`{"runtimes":{},"debug":true}`, `{"runtimes":{"oomwitness": ` + entry + `},"debug":true}`,
		},
		"tabs": {"{\n\t\"debug\": true\n}\n", "{\n\t\"debug\": true,\n\t\"runtimes\": {\n\t\t\"oomwitness\": {\n\t\t\t" +
			"\"runtimeType\": \"" + shim + "\"\n\t\t}\n\t}\n}\n"},
		"CRLF": {"{\r\n    \"debug\": true\r\n}\r\n", "{\r\n    \"debug\": true,\r\n    \"runtimes\": {\r\n        \"oomwitness\": {\r\n            " +
			"\"runtimeType\": \"" + shim + "\"\r\n        }\r\n    }\r\n}\r\n"},
		"byte order mark": {"\xef\xbb\xbf{\"debug\":true}", "\xef\xbb\xbf{\"debug\":true,\"runtimes\": {\"oomwitness\":" + entry + "}}"},
		"numbers and escapes": {
			"{\n  \"mtu\": 1500.0e0,\n  \"big\": 12345678901234567890,\n  \"log\": \"\\u00e9<\"\n}",
			"{\n  \"mtu\": 1500.0e0,\n  \"big\": 12345678901234567890,\n  \"log\": \"\\u00e9<\",\n  \"runtimes\": {\n    \"oomwitness\": {\n      \"runtimeType\": \"" + shim + "\"\n    }\n  }\n}",
		},
		"other runtimes": {"{\n  \"runtimes\": {\n    \"nvidia\": {\"path\": \"nvidia\", \"args\": []}\n  },\n  \"debug\": false\n}\n",
			"{\n  \"runtimes\": {\n    \"nvidia\": {\"path\": \"nvidia\", \"args\": []},\n    \"oomwitness\": {\n      \"runtimeType\": \"" + shim + "\"\n    }\n  },\n  \"debug\": false\n}\n"},
		"empty runtimes": {"{\n  \"runtimes\": {}\n}\n",
			"{\n  \"runtimes\": {\n    \"oomwitness\": {\n      \"runtimeType\": \"" + shim + "\"\n    }\n  }\n}\n"},
		"escaped key": {`{"runt\u0069mes":{"a":{"path":"b"}}}`, `{"runt\u0069mes":{"a":{"path":"b"},"oomwitness": ` + entry + `}}`},
		"ours by name": {`{"runtimes":{"oomwitness":{"runtimeType":"io.containerd.oomwitness.v2","options":{"TypeUrl":"x"}}}}`,
			`{"runtimes":{"oomwitness":{"runtimeType":"` + shim + `","options":{"TypeUrl":"x"}}}}`},
		"there already": {`{"runtimes":{"oomwitness":` + entry + `}}`, `{"runtimes":{"oomwitness":` + entry + `}}`},
	} {
		t.Run(name, func(t *testing.T) {
			after, err := docker.Register([]byte(c.before), ours, false)
			require.NoError(t, err)
			require.Equal(t, c.after, string(after))

			again, err := docker.Register(after, ours, false)
			require.NoError(t, err)
			require.Equal(t, c.after, string(again), "the second time changes nothing")

			restored, removed, err := docker.Unregister(after, []byte(c.before), ours.Name)
			require.NoError(t, err)
			require.True(t, removed)
			if !strings.Contains(c.before, "oomwitness") {
				require.Equal(t, c.before, string(restored), "byte for byte")
			}
		})
	}
}

// TestRegisterRefuses tries files that an edit could break.
func TestRegisterRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"trailing comma":     {"{\n  \"debug\": true,\n}\n", "line 3: invalid JSON"},
		"comment":            {"{\n  // mine\n  \"debug\": true\n}", "line 2: invalid JSON"},
		"cut off":            {"{\n\"debug\": tr", "line 2: invalid JSON"},
		"two values":         {"{}\n{}\n", "line 2: invalid JSON"},
		"array":              {"\n[]", "line 2: the value has to be a JSON object, is an array"},
		"null":               {"null", "line 1: the value has to be a JSON object, is null"},
		"duplicate":          {"{\"debug\":true,\n\"debug\":false}", "line 2: the key \"debug\" is there twice"},
		"duplicate within":   {"{\"a\":[{\"b\":1,\n\"b\":2}]}", "line 2: the key \"b\" is there twice"},
		"duplicate, escaped": {`{"debug":true,"d\u0065bug":false}`, "the key \"debug\" is there twice"},
		"runtimes array":     {"{\n\"runtimes\": []}", "line 2: runtimes has to be an object, is an array"},
		"runtimes null":      {`{"runtimes":null}`, "runtimes has to be an object, is null"},
		"runtimes cased":     {`{"Runtimes":{}}`, `the key "Runtimes": dockerd knows "runtimes" alone`},
		"entry a string":     {`{"runtimes":{"oomwitness":"x"}}`, `the runtime "oomwitness" has to be an object, is a string`},
		"default a number":   {`{"default-runtime":1}`, "default-runtime has to be a string, is a number"},
		"another's path":     {`{"runtimes":{"oomwitness":{"path":"/usr/bin/crun"}}}`, "is not oomwitness"},
		"another's type":     {`{"runtimes":{"oomwitness":{"runtimeType":"io.containerd.runsc.v1"}}}`, "is not oomwitness"},
		"UTF-16":             {"\xff\xfe{\x00}\x00", "UTF-16"},
		"not UTF-8":          {"{\"a\":\"\xff\"}", "not valid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := docker.Register([]byte(c.text), ours, false)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestRegisterForce(t *testing.T) {
	after, err := docker.Register([]byte(`{"runtimes":{"oomwitness":{"path":"x"},"b":{"path":"y"}}}`), ours, true)
	require.NoError(t, err)
	require.Equal(t, `{"runtimes":{"oomwitness":{"runtimeType":"`+shim+`"},"b":{"path":"y"}}}`, string(after))
}

// TestUnregisterChanged tries files that somebody has changed since the registration.
func TestUnregisterChanged(t *testing.T) {
	entry := `"oomwitness":{"runtimeType":"` + shim + `"}`
	for name, c := range map[string]struct{ before, text, want string }{
		"runtime added":  {`{}`, `{"runtimes":{` + entry + `,"b":{"path":"y"}}}`, `{"runtimes":{"b":{"path":"y"}}}`},
		"runtime ahead":  {`{}`, `{"runtimes":{"b":{"path":"y"}, ` + entry + `}}`, `{"runtimes":{"b":{"path":"y"}}}`},
		"key added":      {`{}`, `{"runtimes":{` + entry + `}, "debug":true}`, `{"debug":true}`},
		"key ahead":      {`{}`, "{\n \"debug\":true,\n \"runtimes\":{" + entry + "}\n}\n", "{\n \"debug\":true\n}\n"},
		"no backup":      {``, `{"debug":true,"runtimes":{` + entry + `}}`, `{"debug":true}`},
		"default":        {`{}`, `{"debug":true,"default-runtime":"oomwitness","runtimes":{` + entry + `}}`, `{"debug":true}`},
		"former default": {`{"default-runtime":"crun"}`, `{"debug":true,"default-runtime":"oomwitness","runtimes":{` + entry + `}}`, `{"debug":true,"default-runtime":"crun"}`},
		"former default gone": {`{"default-runtime":"x","runtimes":{"x":{"path":"/x"}}}`,
			`{"default-runtime":"oomwitness","runtimes":{` + entry + `}}`, `{}`},
		"default its own":  {`{}`, `{"default-runtime":"b","runtimes":{` + entry + `,"b":{"path":"y"}}}`, `{"default-runtime":"b","runtimes":{"b":{"path":"y"}}}`},
		"backup not JSON":  {`{`, `{"debug":true,"runtimes":{` + entry + `}}`, `{"debug":true}`},
		"backup of others": {`{"debug":false}`, `{"debug":true,"runtimes":{` + entry + `}}`, `{"debug":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			out, removed, err := docker.Unregister([]byte(c.text), []byte(c.before), ours.Name)
			require.NoError(t, err)
			require.True(t, removed)
			require.Equal(t, c.want, string(out))
		})
	}
	for _, text := range []string{``, `{}`, `{"runtimes":{"oomwitness":{"path":"x"}}}`} {
		out, removed, err := docker.Unregister([]byte(text), nil, ours.Name)
		require.NoError(t, err)
		require.False(t, removed)
		require.Equal(t, text, string(out))
	}
}

func TestRegisterAsDefault(t *testing.T) {
	def := ours
	def.Default = true
	for _, before := range []string{``, `{"default-runtime":"crun"}`, "{\n\t\"default-runtime\": \"oomwitness\"\n}", `{"a":1}`} {
		after, err := docker.Register([]byte(before), def, false)
		require.NoError(t, err)
		have, err := docker.Read(after, ours.Name)
		require.NoError(t, err)
		require.Equal(t, docker.Registration{Found: true, Ours: true, Type: shim, Default: ours.Name}, have)
		restored, _, err := docker.Unregister(after, []byte(before), ours.Name)
		require.NoError(t, err)
		require.Equal(t, before, string(restored))
	}
}

// FuzzRegister: an accepted text keeps every key and value and has the runtime. A second
// Register changes nothing, and Unregister restores each byte.
func FuzzRegister(f *testing.F) {
	for _, seed := range []string{
		"", "{}", " \n", "{\n\t\"a\": [1, {\"b\": null}],\r\n\t\"runtimes\": {}\n}\n", "\xef\xbb\xbf{ }",
		`{"runtimes":{"x":{"path":"y"}},"default-runtime":"x"}`, `{"runtimes":{"oomwitness":{"runtimeType":"io.containerd.oomwitness.v2"}}}`,
		"{\"a\":1\n,\"b\":-0.0e5\n}", `{"runtimes":{"oomwitness":{"path":"x"}}}`, `{"runtimes":{"oomwitness":{}}}`,
	} {
		f.Add([]byte(seed), true, true)
	}
	f.Fuzz(func(t *testing.T, before []byte, asDefault, force bool) {
		r := ours
		r.Default = asDefault
		after, err := docker.Register(before, r, force)
		if err != nil {
			return
		}
		have, err := docker.Read(after, r.Name)
		require.NoError(t, err)
		require.True(t, have.Ours)
		require.Equal(t, shim, have.Type)
		wanted, got := decode(t, before), decode(t, after)
		wanted["runtimes"] = merged(wanted["runtimes"], got["runtimes"])
		if asDefault {
			wanted["default-runtime"] = json.RawMessage(`"oomwitness"`)
		}
		require.Equal(t, wanted, got)

		again, err := docker.Register(after, r, force)
		require.NoError(t, err)
		require.Equal(t, string(after), string(again))
		restored, removed, err := docker.Unregister(after, before, r.Name)
		require.NoError(t, err)
		require.True(t, removed)
		require.Equal(t, string(before), string(restored))
		cut, _, err := docker.Unregister(after, []byte("{"), r.Name)
		require.NoError(t, err)
		decode(t, cut)
	})
}

// decode returns the members of an object as written.
func decode(t *testing.T, text []byte) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	if len(text) > 0 {
		require.NoError(t, json.Unmarshal(text, &out), "%q", text)
	}
	return out
}

// merged returns after, if it has everything of before except the runtime itself.
func merged(before, after json.RawMessage) json.RawMessage {
	var old, now map[string]json.RawMessage
	_ = json.Unmarshal(before, &old)
	_ = json.Unmarshal(after, &now)
	for name, value := range old {
		if name != ours.Name && !bytes.Equal(value, now[name]) {
			return before
		}
	}
	return after
}
