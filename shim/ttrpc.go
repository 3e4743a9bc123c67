//go:build linux

package shim

import (
	"context"
	"reflect"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
)

// taskV2 is the task service of containerd 1.6 and 1.7, and of later ones for a
// shim of version 2. The service and its messages differ from version 3 in the
// name of their package alone (containerd/api/runtime/task/v2 and v3).
const taskV2 = "containerd.task.v2.Task"

// RegisterTTRPC implements upstream's TTRPCService: the shim serves the decorated
// service as both versions of the task service.
func (s *Service) RegisterTTRPC(server *ttrpc.Server) error {
	registerTask(server, s)
	return nil
}

func registerTask(server *ttrpc.Server, s taskAPI.TTRPCTaskService) {
	taskAPI.RegisterTTRPCTaskService(server, s)
	server.RegisterService(taskV2, &ttrpc.ServiceDesc{Methods: methods(s)})
}

// methods returns the methods of a task service by name. The generated code of
// package v2 would bring its own messages into every shim, one more time. A look-up
// of methods by reflection would keep all methods of all types in the program.
func methods(s taskAPI.TTRPCTaskService) map[string]ttrpc.Method {
	all := make(map[string]ttrpc.Method)
	for name, call := range map[string]any{
		"State": s.State, "Create": s.Create, "Start": s.Start, "Delete": s.Delete, "Pids": s.Pids,
		"Pause": s.Pause, "Resume": s.Resume, "Checkpoint": s.Checkpoint, "Kill": s.Kill, "Exec": s.Exec,
		"ResizePty": s.ResizePty, "CloseIO": s.CloseIO, "Update": s.Update, "Wait": s.Wait, "Stats": s.Stats,
		"Connect": s.Connect, "Shutdown": s.Shutdown,
	} {
		all[name] = method(reflect.ValueOf(call))
	}
	return all
}

// method returns a method of the task service as ttrpc calls it.
func method(call reflect.Value) ttrpc.Method {
	request := call.Type().In(1).Elem()
	return func(ctx context.Context, decode func(any) error) (any, error) {
		req := reflect.New(request)
		if err := decode(req.Interface()); err != nil {
			return nil, err
		}
		out := call.Call([]reflect.Value{reflect.ValueOf(ctx), req})
		err, _ := out[1].Interface().(error)
		return out[0].Interface(), err
	}
}
