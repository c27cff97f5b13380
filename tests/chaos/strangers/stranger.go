// A client at its defaults: CALLERS goroutines call until standard input ends; prints the number of each status.
// PER_CALL: each call by a connection of its own; PING_SECONDS: of keep-alive; PAUSE_SECONDS: between calls.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

type raw struct{}

func (raw) Name() string                        { return "proto" }
func (raw) Marshal(v any) ([]byte, error)       { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error  { *v.(*[]byte) = data; return nil }

func span(name string) time.Duration {
	seconds, _ := strconv.ParseFloat(os.Getenv(name), 64)
	return time.Duration(seconds * float64(time.Second))
}

func main() {
	target, path, ca := os.Args[1], os.Args[2], os.Getenv("CA_FILE")
	request, _ := base64.StdEncoding.DecodeString(os.Args[3])
	callers, _ := strconv.Atoi(os.Getenv("CALLERS"))
	deadline, pause, ping := span("CALL_SECONDS"), span("PAUSE_SECONDS"), span("PING_SECONDS")
	perCall := os.Getenv("PER_CALL") != ""
	security := insecure.NewCredentials()
	if ca != "" {
		pem, _ := os.ReadFile(ca)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		security = credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: os.Getenv("SERVER_NAME")})
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(security)}
	if ping > 0 {
		options = append(options, grpc.WithKeepaliveParams(
			keepalive.ClientParameters{Time: ping, PermitWithoutStream: true}))
	}
	connect := func() *grpc.ClientConn {
		channel, err := grpc.NewClient(target, options...)
		if err != nil {
			panic(err)
		}
		return channel
	}
	shared := connect()
	ended := make(chan struct{})
	counts, lock, all := map[string]int{}, sync.Mutex{}, sync.WaitGroup{}
	for range callers {
		all.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				channel := shared
				if perCall {
					channel = connect()
				}
				limited, cancel := context.WithTimeout(context.Background(), deadline)
				var reply []byte
				err := channel.Invoke(limited, path, &request, &reply, grpc.ForceCodec(raw{}))
				cancel()
				if perCall {
					channel.Close()
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
				lock.Lock()
				counts[status.Code(err).String()]++
				first := counts["OK"] == 1
				lock.Unlock()
				if first && err == nil {
					fmt.Println("calling")
				}
				time.Sleep(pause)
			}
		})
	}
	io.ReadAll(os.Stdin)
	close(ended)
	all.Wait()
	json.NewEncoder(os.Stdout).Encode(counts)
}
