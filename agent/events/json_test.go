package events_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/events"
)

// filler fills any value by its type: each field is another number or text. A field
// that is added to an OOM event is in the tests from then on.
type filler struct {
	t    *testing.T
	text string
	n    uint64
	deep bool // pointers, lists and maps are there
}

func (f *filler) fill(v reflect.Value) {
	f.n += 7
	switch v.Kind() {
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			v.Set(reflect.ValueOf(time.Unix(int64(f.n%(1<<32)), int64(f.n%1000)*1e6).UTC()))
			return
		}
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	case reflect.Pointer:
		if f.deep {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem())
		}
	case reflect.Slice:
		for range f.n % 4 {
			one := reflect.New(v.Type().Elem()).Elem()
			f.fill(one)
			v.Set(reflect.Append(v, one))
		}
	case reflect.String:
		v.SetString(f.text)
	case reflect.Bool:
		v.SetBool(f.n%2 == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(int32(f.n * 0x9e3779b9)))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(uint32(f.n * 0x9e3779b9)))
	default:
		require.FailNow(f.t, "a kind of field that is new", v.Kind().String())
	}
}

func filled(t *testing.T, text string, n uint64, deep bool) *events.OOMEvent {
	in := &events.OOMEvent{}
	(&filler{t: t, text: text, n: n, deep: deep}).fill(reflect.ValueOf(in).Elem())
	return in
}

// FuzzJSON: an OOM event is written as encoding/json writes it.
func FuzzJSON(f *testing.F) {
	for n := range uint64(8) {
		f.Add("java", n, n%2 == 0)
		f.Add("", n, n%2 == 1)
	}
	f.Add("\x00\x1f \"\\/<>&\x7f\u00e9\u2028\U0001f600\xff", uint64(3), true)
	f.Add("a", uint64(1)<<63, true)
	f.Fuzz(func(t *testing.T, text string, n uint64, deep bool) {
		in := filled(t, text, n, deep)
		want, err := json.Marshal(in)
		require.NoError(t, err)
		got, err := in.AppendJSON(nil)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	})
}

// TestJSONOfAll: the fuzzed OOM events have victims, and all that there may be.
func TestJSONOfAll(t *testing.T) {
	in := filled(t, "x", 0, true)
	for n := uint64(1); len(in.Victims) == 0; n++ {
		in = filled(t, "x", n, true)
	}
	require.NotNil(t, in.Domain)
	require.NotNil(t, in.Victims[0].Pod)
	require.NotNil(t, in.Victims[0].Container)
	text, err := in.AppendJSON([]byte("before"))
	require.NoError(t, err)
	require.True(t, json.Valid(text[len("before"):]))
	in.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = json.Marshal(in)
	require.Error(t, err)
	_, err = in.AppendJSON(nil)
	require.Error(t, err)
}
