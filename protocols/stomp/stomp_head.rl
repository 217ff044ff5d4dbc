/* SPDX-License-Identifier: Apache-2.0 */

/* The head of a frame, one byte at a time: command, headers, the empty line.
 *
 * The machine knows the commands and the names of the headers that mean something, so that none is
 * looked up afterwards, and leaves offsets. It stops behind the empty line, or at the first byte
 * that no frame can have. Both `\n` and `\r\n` end a line in every version: 1.2 says so, and in the
 * older ones people type. Any thread.
 *
 * Standard: STOMP 1.2, Augmented BNF. */

#include "stomp/stomp_head.h"

%%{
    machine stomp_head;
    alphtype unsigned char;

    action name   { frame->mark = HERE; frame->header = STOMP_H_OTHER;
                    frame->escaped = false; frame->returns = 0; }
    action value  { frame->value_mark = HERE + 1; }
    action escape { frame->escaped = true; }
    action cr     { frame->returns++; }
    action full   { if (!stomp_head_field(frame, HERE, limits)) fbreak; }
    action done   { whole = true; fbreak; }

    eol   = '\r'? '\n';
    octet = any - [\r\n:\\\0];

    command = ( 'CONNECT'     %{ frame->command = STOMP_CONNECT; }
              | 'STOMP'       %{ frame->command = STOMP_STOMP; }
              | 'SEND'        %{ frame->command = STOMP_SEND; }
              | 'SUBSCRIBE'   %{ frame->command = STOMP_SUBSCRIBE; }
              | 'UNSUBSCRIBE' %{ frame->command = STOMP_UNSUBSCRIBE; }
              | 'ACK'         %{ frame->command = STOMP_ACK; }
              | 'NACK'        %{ frame->command = STOMP_NACK; }
              | 'BEGIN'       %{ frame->command = STOMP_BEGIN; }
              | 'COMMIT'      %{ frame->command = STOMP_COMMIT; }
              | 'ABORT'       %{ frame->command = STOMP_ABORT; }
              | 'DISCONNECT'  %{ frame->command = STOMP_DISCONNECT; }
              | 'CONNECTED'   %{ frame->command = STOMP_CONNECTED; }
              | 'MESSAGE'     %{ frame->command = STOMP_MESSAGE; }
              | 'RECEIPT'     %{ frame->command = STOMP_RECEIPT; }
              | 'ERROR'       %{ frame->command = STOMP_ERROR; } );

    known = ( 'accept-version'     %{ frame->header = STOMP_H_ACCEPT_VERSION; }
            | 'ack'                %{ frame->header = STOMP_H_ACK; }
            | 'client-id'          %{ frame->header = STOMP_H_CLIENT_ID; }
            | 'content-length'     %{ frame->header = STOMP_H_CONTENT_LENGTH; }
            | 'content-type'       %{ frame->header = STOMP_H_CONTENT_TYPE; }
            | 'correlation-id-hex' %{ frame->header = STOMP_H_CORRELATION_HEX; }
            | 'correlation-id'     %{ frame->header = STOMP_H_CORRELATION_ID; }
            | 'destination'        %{ frame->header = STOMP_H_DESTINATION; }
            | 'durable'            %{ frame->header = STOMP_H_DURABLE; }
            | 'expires'            %{ frame->header = STOMP_H_EXPIRES; }
            | 'heart-beat'         %{ frame->header = STOMP_H_HEART_BEAT; }
            | 'host'               %{ frame->header = STOMP_H_HOST; }
            | 'id'                 %{ frame->header = STOMP_H_ID; }
            | 'login'              %{ frame->header = STOMP_H_LOGIN; }
            | 'message'            %{ frame->header = STOMP_H_MESSAGE; }
            | 'message-id'         %{ frame->header = STOMP_H_MESSAGE_ID; }
            | 'no-local'           %{ frame->header = STOMP_H_NO_LOCAL; }
            | 'passcode'           %{ frame->header = STOMP_H_PASSCODE; }
            | 'payload-format'     %{ frame->header = STOMP_H_PAYLOAD_FORMAT; }
            | 'persistent'         %{ frame->header = STOMP_H_PERSISTENT; }
            | 'prefetch-count'     %{ frame->header = STOMP_H_PREFETCH_COUNT; }
            | 'receipt'            %{ frame->header = STOMP_H_RECEIPT; }
            | 'receipt-id'         %{ frame->header = STOMP_H_RECEIPT_ID; }
            | 'redelivered'        %{ frame->header = STOMP_H_REDELIVERED; }
            | 'reply-to'           %{ frame->header = STOMP_H_REPLY_TO; }
            | 'retain'             %{ frame->header = STOMP_H_RETAIN; }
            | 'selector'           %{ frame->header = STOMP_H_SELECTOR; }
            | 'server'             %{ frame->header = STOMP_H_SERVER; }
            | 'session'            %{ frame->header = STOMP_H_SESSION; }
            | 'subscription'       %{ frame->header = STOMP_H_SUBSCRIPTION; }
            | 'transaction'        %{ frame->header = STOMP_H_TRANSACTION; }
            | 'version'            %{ frame->header = STOMP_H_VERSION; } );

    # The name of any header; where it is a known one, leaving it says which.
    name  = ( (octet | '\\' @escape)+ | known ) >name;
    value = ( (any - [\r\n\\\0]) | '\\' @escape | '\r' @cr )*;
    header = name ':' @value value '\n' @full;

    main := command eol header* eol @done;
}%%

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-const-variable" /* the start state is set by ragel's own code */
%% write data noerror nofinal;
#pragma GCC diagnostic pop

#define HERE ((uint32_t)(p - frame->data))

void stomp_head_begin(struct stomp_frame *frame)
{
    frame->state = stomp_head_start;
}

enum stomp_result stomp_head_run(struct stomp_frame *frame, struct pg_bytes in,
                                 const struct stomp_limits *limits)
{
    const uint8_t *p = in.data + frame->at;
    const uint8_t *pe = in.data + in.len;
    int cs = frame->state;
    bool whole = false;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough" /* the state labels of -G2 do so by design */
    %% write exec;
#pragma GCC diagnostic pop

    frame->at = HERE;
    frame->state = cs;
    if (whole)
        return STOMP_WHOLE;
    return frame->fault == STOMP_F_OK && p == pe && cs != 0 ? STOMP_MORE : STOMP_MALFORMED;
}
