package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
)

func newGrpcServer() *grpc.Server {
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	reflection.Register(server)
	return server
}

// interoperate makes the calls of gRPC's interoperability tests over one connection, and names each that went well on
// standard output. The first that does not ends the process with an error.
func interoperate(to *server) {
	security := insecure.NewCredentials()
	if to.ca != "" {
		trusted, err := credentials.NewClientTLSFromFile(to.ca, to.authority)
		if err != nil {
			log.Fatal(err)
		}
		security = trusted
	}
	connection, err := grpc.NewClient("passthrough:///"+to.address,
		grpc.WithTransportCredentials(security), grpc.WithAuthority(to.authority))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	service := testgrpc.NewTestServiceClient(connection)
	type call = func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)
	calls := []struct {
		name string
		make call
	}{
		{"empty_unary", interop.DoEmptyUnaryCall},
		{"large_unary", interop.DoLargeUnaryCall},
		{"client_streaming", interop.DoClientStreaming},
		{"server_streaming", interop.DoServerStreaming},
		{"ping_pong", interop.DoPingPong},
		{"empty_stream", interop.DoEmptyStream},
		{"timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer},
		{"cancel_after_begin", interop.DoCancelAfterBegin},
		{"cancel_after_first_response", interop.DoCancelAfterFirstResponse},
		{"status_code_and_message", interop.DoStatusCodeAndMessage},
		{"special_status_message", interop.DoSpecialStatusMessage},
		{"custom_metadata", interop.DoCustomMetadata},
		{"unimplemented_method", func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption) {
			interop.DoUnimplementedMethod(context.Background(), connection)
		}},
		{"unimplemented_service", func(ctx context.Context, _ testgrpc.TestServiceClient, _ ...grpc.CallOption) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(connection))
		}},
	}
	for _, call := range calls {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		// The library says what is wrong and ends the process.
		fmt.Fprintln(os.Stderr, "calling", call.name)
		call.make(ctx, service)
		cancel()
		fmt.Println(call.name)
	}
}
