// What test_foreign_clients asks of nats.c: `client URL`. Each scenario prints `ok NAME`; `restart` asks
// whoever started this to restart the gateway.
#include <nats/nats.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1 << 20)
#define N_SUBSCRIPTIONS 10000
#define WAIT_MS 30000

static const char *url;

static void check(bool holds, const char *what, int line) {
    if (holds) return;
    fprintf(stderr, "line %d: %s: %s\n", line, what, nats_GetLastError(NULL));
    exit(1);
}
#define CHECK(holds) check((holds), #holds, __LINE__)
#define OK(call) check((call) == NATS_OK, #call, __LINE__)

static natsConnection *connected(void) {
    natsConnection *connection = NULL;
    OK(natsConnection_ConnectTo(&connection, url));
    return connection;
}

static void end(natsConnection *connection) {
    natsConnection_Close(connection);
    natsConnection_Destroy(connection);
}

static void expect(natsSubscription *subscription, const char *subject, const char *payload) {
    natsMsg *message = NULL;
    OK(natsSubscription_NextMsg(&message, subscription, WAIT_MS));
    CHECK(strcmp(natsMsg_GetSubject(message), subject) == 0);
    CHECK(strcmp(natsMsg_GetData(message), payload) == 0);
    natsMsg_Destroy(message);
}

// What callbacks of several threads have come to.
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n;
    char seen[N_SUBSCRIPTIONS];
} Tally;

static Tally tally = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}};

static void reset(void) {
    pthread_mutex_lock(&tally.lock);
    tally.n = 0;
    memset(tally.seen, 0, sizeof tally.seen);
    pthread_mutex_unlock(&tally.lock);
}

// Notes that `idx` has come, for the first time; -1 is any.
static void note(int idx) {
    pthread_mutex_lock(&tally.lock);
    if (idx < 0) idx = tally.n;
    CHECK(!tally.seen[idx]);
    tally.seen[idx] = 1;
    tally.n++;
    pthread_cond_signal(&tally.changed);
    pthread_mutex_unlock(&tally.lock);
}

static void await(int n) {
    pthread_mutex_lock(&tally.lock);
    while (tally.n < n) pthread_cond_wait(&tally.changed, &tally.lock);
    pthread_mutex_unlock(&tally.lock);
}

static void count(natsConnection *nc, natsSubscription *sub, natsMsg *message, void *n_taken) {
    (void)nc, (void)sub;
    note(atoi(natsMsg_GetData(message)));
    if (n_taken) __atomic_add_fetch((int *)n_taken, 1, __ATOMIC_SEQ_CST);
    natsMsg_Destroy(message);
}

static void answer(natsConnection *nc, natsSubscription *sub, natsMsg *message, void *unused) {
    (void)sub, (void)unused;
    OK(natsConnection_Publish(nc, natsMsg_GetReply(message), natsMsg_GetData(message), natsMsg_GetDataLength(message)));
    // Its asker may have the answer by now, and be gone with the connection.
    (void)natsConnection_Flush(nc);
    natsMsg_Destroy(message);
}

static void publish_numbers(natsConnection *nc, const char *subject, int n) {
    char number[16];
    for (int i = 0; i < n; i++) {
        snprintf(number, sizeof number, "%d", i);
        OK(natsConnection_PublishString(nc, subject, number));
    }
    OK(natsConnection_Flush(nc));
}

static void publish_subscribe(void) {
    natsConnection *a = connected(), *b = connected();
    natsSubscription *exact, *star, *tail;
    OK(natsConnection_SubscribeSync(&exact, a, "c.p.x"));
    OK(natsConnection_SubscribeSync(&star, a, "c.p.*"));
    OK(natsConnection_SubscribeSync(&tail, a, "c.p.>"));
    OK(natsConnection_Flush(a));
    OK(natsConnection_PublishString(b, "c.p.y.z", "deep"));
    OK(natsConnection_PublishString(b, "c.p.x", "x"));
    OK(natsConnection_Flush(b));
    expect(tail, "c.p.y.z", "deep");
    expect(tail, "c.p.x", "x");
    expect(star, "c.p.x", "x");
    expect(exact, "c.p.x", "x");
    natsSubscription_Destroy(exact), natsSubscription_Destroy(star), natsSubscription_Destroy(tail);
    end(a), end(b);
}

static void queues(void) {
    enum { N_MEMBERS = 4, N_MESSAGES = 600 };
    natsConnection *members[N_MEMBERS], *publisher = connected();
    natsSubscription *subscriptions[N_MEMBERS];
    int n_taken[N_MEMBERS] = {0};
    reset();
    for (int i = 0; i < N_MEMBERS; i++) {
        members[i] = connected();
        OK(natsConnection_QueueSubscribe(&subscriptions[i], members[i], "c.q", "workers", count, &n_taken[i]));
        OK(natsConnection_Flush(members[i]));
    }
    publish_numbers(publisher, "c.q", N_MESSAGES);
    await(N_MESSAGES);
    for (int i = 0; i < N_MEMBERS; i++) {
        natsSubscription_Destroy(subscriptions[i]);
        end(members[i]);
        CHECK(n_taken[i] > N_MESSAGES / 10);
    }
    end(publisher);
}

static void ask(bool old_style) {
    natsOptions *options;
    natsConnection *a = connected(), *b;
    natsSubscription *service;
    OK(natsOptions_Create(&options));
    OK(natsOptions_SetURL(options, url));
    OK(natsOptions_UseOldRequestStyle(options, old_style));
    OK(natsConnection_Connect(&b, options));
    OK(natsConnection_QueueSubscribe(&service, a, "c.ask", "s", answer, NULL));
    OK(natsConnection_Flush(a));
    for (int i = 0; i < 200; i++) {
        char question[16];
        natsMsg *reply = NULL;
        snprintf(question, sizeof question, "r%d", i);
        OK(natsConnection_RequestString(&reply, b, "c.ask", question, WAIT_MS));
        CHECK(strcmp(natsMsg_GetData(reply), question) == 0);
        natsMsg_Destroy(reply);
    }
    natsMsg *nobody = NULL;
    CHECK(natsConnection_RequestString(&nobody, b, "c.nobody", "?", WAIT_MS) == NATS_NO_RESPONDERS);
    natsSubscription_Destroy(service);
    natsOptions_Destroy(options);
    end(a), end(b);
}

static void requests_of_the_new_style(void) { ask(false); }

static void requests_of_the_old_style(void) { ask(true); }

static void headers(void) {
    natsConnection *a = connected(), *b = connected();
    natsSubscription *subscription;
    natsMsg *sent, *message;
    const char **values;
    const char *value;
    int n_values;
    OK(natsConnection_SubscribeSync(&subscription, a, "c.h"));
    OK(natsConnection_Flush(a));
    OK(natsMsg_Create(&sent, "c.h", NULL, "body", 4));
    OK(natsMsgHeader_Add(sent, "Alpha", "1"));
    OK(natsMsgHeader_Add(sent, "Alpha", "2"));
    OK(natsMsgHeader_Set(sent, "x-lower", "two words"));
    OK(natsConnection_PublishMsg(b, sent));
    OK(natsSubscription_NextMsg(&message, subscription, WAIT_MS));
    OK(natsMsgHeader_Values(message, "Alpha", &values, &n_values));
    CHECK(n_values == 2 && strcmp(values[0], "1") == 0 && strcmp(values[1], "2") == 0);
    OK(natsMsgHeader_Get(message, "x-lower", &value));
    CHECK(strcmp(value, "two words") == 0);
    CHECK(strcmp(natsMsg_GetData(message), "body") == 0);
    free(values);
    natsMsg_Destroy(sent), natsMsg_Destroy(message);
    natsSubscription_Destroy(subscription);
    end(a), end(b);
}

static void a_payload_of_one_mib(void) {
    natsConnection *a = connected(), *b = connected();
    natsSubscription *subscription;
    char *payload = malloc(MIB);
    CHECK(natsConnection_GetMaxPayload(a) == MIB);
    for (int i = 0; i < MIB; i++) payload[i] = (char)(i % 251);
    OK(natsConnection_SubscribeSync(&subscription, a, "c.mib"));
    OK(natsConnection_Flush(a));
    for (int i = 0; i < 3; i++) OK(natsConnection_Publish(b, "c.mib", payload, MIB));
    for (int i = 0; i < 3; i++) {
        natsMsg *message;
        OK(natsSubscription_NextMsg(&message, subscription, WAIT_MS));
        CHECK(natsMsg_GetDataLength(message) == MIB && memcmp(natsMsg_GetData(message), payload, MIB) == 0);
        natsMsg_Destroy(message);
    }
    free(payload);
    natsSubscription_Destroy(subscription);
    end(a), end(b);
}

static void ten_thousand_subscriptions(void) {
    natsOptions *options;
    natsConnection *a, *b = connected();
    natsSubscription **subscriptions = calloc(N_SUBSCRIPTIONS, sizeof *subscriptions);
    char subject[32], number[16];
    // One thread for all of them instead of one each.
    OK(natsOptions_Create(&options));
    OK(natsOptions_SetURL(options, url));
    OK(natsOptions_UseGlobalMessageDelivery(options, true));
    OK(natsConnection_Connect(&a, options));
    reset();
    for (int i = 0; i < N_SUBSCRIPTIONS; i++) {
        snprintf(subject, sizeof subject, "c.s.%d", i);
        OK(natsConnection_Subscribe(&subscriptions[i], a, subject, count, NULL));
    }
    OK(natsConnection_Flush(a));
    for (int i = 0; i < N_SUBSCRIPTIONS; i++) {
        snprintf(subject, sizeof subject, "c.s.%d", i);
        snprintf(number, sizeof number, "%d", i);
        OK(natsConnection_PublishString(b, subject, number));
    }
    OK(natsConnection_Flush(b));
    await(N_SUBSCRIPTIONS);
    end(a), end(b);
    for (int i = 0; i < N_SUBSCRIPTIONS; i++) natsSubscription_Destroy(subscriptions[i]);
    free(subscriptions);
    natsOptions_Destroy(options);
}

static void unsubscribing_after_some(void) {
    natsConnection *a = connected(), *b = connected();
    natsSubscription *subscription, *last;
    natsMsg *message = NULL;
    OK(natsConnection_SubscribeSync(&subscription, a, "c.max"));
    OK(natsSubscription_AutoUnsubscribe(subscription, 3));
    OK(natsConnection_SubscribeSync(&last, a, "c.max.end"));
    OK(natsConnection_Flush(a));
    publish_numbers(b, "c.max", 9);
    OK(natsConnection_PublishString(b, "c.max.end", "end"));
    expect(last, "c.max.end", "end");
    expect(subscription, "c.max", "0"), expect(subscription, "c.max", "1"), expect(subscription, "c.max", "2");
    CHECK(natsSubscription_NextMsg(&message, subscription, 1) != NATS_OK);
    natsSubscription_Destroy(subscription), natsSubscription_Destroy(last);
    end(a), end(b);
}

static void drain(void) {
    natsConnection *a = connected(), *b = connected();
    natsSubscription *subscription, *last;
    reset();
    OK(natsConnection_Subscribe(&subscription, a, "c.d", count, NULL));
    OK(natsConnection_SubscribeSync(&last, a, "c.d.end"));
    OK(natsConnection_Flush(a));
    publish_numbers(b, "c.d", 2000);
    OK(natsConnection_PublishString(b, "c.d.end", "end"));
    expect(last, "c.d.end", "end");
    OK(natsSubscription_Drain(subscription));
    OK(natsSubscription_WaitForDrainCompletion(subscription, WAIT_MS));
    CHECK(tally.n == 2000);
    OK(natsConnection_Drain(a));
    natsSubscription_Destroy(subscription), natsSubscription_Destroy(last);
    end(a), end(b);
}

static void on_reconnected(natsConnection *nc, void *unused) {
    (void)nc, (void)unused;
    note(-1);
}

static void reconnect(void) {
    natsOptions *options;
    natsConnection *a, *b;
    natsSubscription *subscription;
    reset();
    OK(natsOptions_Create(&options));
    OK(natsOptions_SetURL(options, url));
    OK(natsOptions_SetMaxReconnect(options, -1));
    OK(natsOptions_SetReconnectWait(options, 50));
    OK(natsOptions_SetReconnectedCB(options, on_reconnected, NULL));
    OK(natsConnection_Connect(&a, options));
    OK(natsConnection_Connect(&b, options));
    OK(natsConnection_SubscribeSync(&subscription, a, "c.r"));
    OK(natsConnection_Flush(a));
    puts("restart");
    await(2);
    OK(natsConnection_FlushTimeout(a, WAIT_MS));
    OK(natsConnection_PublishString(b, "c.r", "after"));
    expect(subscription, "c.r", "after");
    natsSubscription_Destroy(subscription);
    natsOptions_Destroy(options);
    end(a), end(b);
}

#define SCENARIO(name) {#name, name}

int main(int n_arguments, char **arguments) {
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {
        SCENARIO(publish_subscribe), SCENARIO(queues), SCENARIO(requests_of_the_new_style),
        SCENARIO(requests_of_the_old_style), SCENARIO(headers), SCENARIO(a_payload_of_one_mib),
        SCENARIO(ten_thousand_subscriptions), SCENARIO(unsubscribing_after_some), SCENARIO(drain),
        SCENARIO(reconnect),
    };
    if (n_arguments != 2) return 64;
    url = arguments[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        scenarios[i].run();
        printf("ok %s\n", scenarios[i].name);
    }
    return 0;
}
