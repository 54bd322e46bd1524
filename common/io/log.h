// Logging, at the edges only: one event a line on stderr, key=value, time first.
//
//   2026-01-31T10:00:00.123Z level=info event=subscribed manager=10.0.0.11:7400 version=12
//
// Threads: any. A line is one write().
#pragma once

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

// Below this nothing is written; LOG_INFO at start.
void log_set_level(enum log_level level);

// `event` is a short-name; the format makes "key=value key=value"; texts are written as text="%s".
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_info(event, ...) log_event(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_event(LOG_ERROR, event, __VA_ARGS__)
