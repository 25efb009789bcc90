// A user of the client that openapi-generator makes of alpine.v1.json. What is between the `docs` marks is shown in docs/clients.md.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"example/alpine"
)

type refusal struct {
	Status    int32            `json:"status"`
	ErrorCode alpine.ErrorCode `json:"error_code"`
}

type summary struct {
	SessionId        string              `json:"session_id"`
	OperationIds     []string            `json:"operation_ids"`
	Ready            alpine.SessionState `json:"ready"`
	Commit           string              `json:"commit"`
	Listed           []string            `json:"listed"`
	Status           alpine.SessionState `json:"status"`
	Sequence         []int64             `json:"sequence"`
	DownOperationIds []string            `json:"down_operation_ids"`
	Stopped          alpine.SessionState `json:"stopped"`
	Verified         bool                `json:"verified"`
	RecordState      alpine.SessionState `json:"record_state"`
	Sha256           string              `json:"sha256"`
	Digest           string              `json:"digest"`
	Refusals         []refusal           `json:"refusals"`
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// What a call was refused with; it must be.
func refused(err error) refusal {
	var answer *alpine.GenericOpenAPIError
	if !errors.As(err, &answer) {
		log.Fatalf("it was not refused: %v", err)
	}
	problem, ok := answer.Model().(alpine.Problem)
	if !ok {
		log.Fatalf("not a problem: %s", answer.Body())
	}
	return refusal{problem.Status, problem.ErrorCode}
}

// An HTTP client that trusts this CA and nothing else.
func trusting(file string) *http.Client {
	pem, err := os.ReadFile(file)
	must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate in " + file)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// SHA-256 of the bytes of `record` as they stand in the answer.
func digestOfRecord(answer *http.Response) string {
	body, err := io.ReadAll(answer.Body)
	must(err)
	var parts struct{ Record json.RawMessage }
	must(json.Unmarshal(body, &parts))
	sum := sha256.Sum256(parts.Record)
	return hex.EncodeToString(sum[:])
}

func main() {
	// docs: begin
	configuration := alpine.NewConfiguration()
	configuration.Servers = alpine.ServerConfigurations{{URL: os.Getenv("ALPINE_SERVER")}}
	configuration.HTTPClient = trusting(os.Getenv("ALPINE_CA_FILE"))
	api := alpine.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), alpine.ContextAccessToken, os.Getenv("ALPINE_TOKEN"))

	up := alpine.UpSession{RepoUrl: os.Getenv("ALPINE_REPO"), Branch: "main", Public: alpine.PtrBool(true)}
	operation, _, err := api.SessionsAPI.CreateSession(ctx).IdempotencyKey("the-key").UpSession(up).Execute()
	for err == nil && (operation.Status == alpine.OPERATIONSTATUS_QUEUED || operation.Status == alpine.OPERATIONSTATUS_RUNNING) {
		operation, _, err = api.OperationsAPI.GetOperation(ctx, operation.OperationId).Prefer("wait=60").Execute()
	}
	must(err)
	// docs: end
	ready := operation
	session := ready.SessionId
	replayed, _, err := api.SessionsAPI.CreateSession(ctx).IdempotencyKey("the-key").UpSession(up).Execute()
	must(err)

	list, _, err := api.SessionsAPI.ListSessions(ctx).State(alpine.SESSIONSTATE_READY).Limit(10).Execute()
	must(err)
	listed := []string{}
	for _, one := range list.Sessions {
		listed = append(listed, one.SessionId)
	}
	status, _, err := api.SessionsAPI.GetSession(ctx, session).Execute()
	must(err)
	sequence := []int64{}
	for after := int64(0); ; after = sequence[len(sequence)-1] {
		page, _, err := api.SessionsAPI.ListEvents(ctx, session).After(after).Limit(2).Execute()
		must(err)
		if len(page.Events) == 0 {
			break
		}
		for _, event := range page.Events {
			sequence = append(sequence, event.Seq)
		}
	}

	// docs: begin
	stopped, _, err := api.SessionsAPI.DownSession(ctx, operation.SessionId).Prefer("wait=60").Execute()
	must(err)
	// docs: end
	if stopped.State != alpine.SESSIONSTATE_STOPPED {
		log.Fatalf("it is %s: %s", stopped.State, stopped.GetNextStep())
	}
	reason := alpine.NewDownSession()
	reason.SetReason("once more")
	downAgain, _, err := api.SessionsAPI.DownSession(ctx, session).DownSession(*reason).Execute()
	must(err)
	record, answer, err := api.SessionsAPI.GetRecord(ctx, session).Execute()
	must(err)

	up.SetBranch("no..branch")
	_, _, noBranch := api.SessionsAPI.CreateSession(ctx).IdempotencyKey("another-key").UpSession(up).Execute()
	_, _, nobody := api.SessionsAPI.DownSession(ctx, "ses_"+strings.Repeat("0", 32)).Execute()

	line, err := json.Marshal(summary{
		SessionId:        session,
		OperationIds:     []string{ready.OperationId, replayed.OperationId},
		Ready:            ready.State,
		Commit:           ready.GetTargetCommitSha(),
		Listed:           listed,
		Status:           status.State,
		Sequence:         sequence,
		DownOperationIds: []string{stopped.OperationId, downAgain.OperationId},
		Stopped:          stopped.State,
		Verified:         stopped.PersistenceVerified,
		RecordState:      record.Record.State,
		Sha256:           record.Sha256,
		Digest:           digestOfRecord(answer),
		Refusals:         []refusal{refused(noBranch), refused(nobody)},
	})
	must(err)
	fmt.Println(string(line))
}
